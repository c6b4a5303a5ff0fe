package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// A change shows one replication method: a first sync, changes in the database, and what a second sync brings of them.
type change struct {
	method  map[string]any // replication_method
	stream  string
	key     string // the column by which the records are told apart
	cursor  []string
	prepare string   // SQL before the first sync; $user is the connector's role
	edit    string   // SQL between the syncs
	want    []string // the keys of the records that the second sync must bring, in any order
	more    bool     // it may bring others, too: rows of transactions that other sessions held open
}

var (
	byCursor = change{
		method: map[string]any{"method": "Standard"},
		stream: "usage_events", key: "event_id", cursor: []string{"event_id"},
		edit: `INSERT INTO billing.usage_events
			SELECT (jsonb_populate_record(e, jsonb_build_object('event_id', 100000 + i))).*
			FROM billing.usage_events e, generate_series(1, 3) AS i WHERE e.event_id = 1`,
		want: []string{"100001", "100002", "100003"}, more: true,
	}
	byXmin = change{
		method: map[string]any{"method": "Xmin"},
		stream: "subscriptions", key: "subscription_id",
		edit: `UPDATE billing.subscriptions SET seats = seats + 1 WHERE subscription_id IN (1000000000001, 1000000000002);
			INSERT INTO billing.subscriptions (subscription_id, customer_id, tier, seats, started)
				SELECT 1, customer_id, 'free', 5, '2026-01-01' FROM billing.subscriptions LIMIT 1`,
		want: []string{"1", "1000000000001", "1000000000002"}, more: true,
	}
	byLog = change{
		method: map[string]any{"method": "CDC", "replication_slot": "demo", "publication": "demo"},
		stream: "subscriptions", key: "subscription_id",
		prepare: `ALTER ROLE $user REPLICATION; CREATE PUBLICATION demo FOR TABLE billing.subscriptions;
			SELECT pg_create_logical_replication_slot('demo', 'pgoutput')`,
		edit: `UPDATE billing.subscriptions SET seats = 0 WHERE subscription_id = 1000000000003;
			DELETE FROM billing.subscriptions WHERE subscription_id = 1;
			INSERT INTO billing.subscriptions (subscription_id, customer_id, tier, seats, started)
				SELECT 2, customer_id, tier, 5, '2026-01-01' FROM billing.subscriptions LIMIT 1`,
		want: []string{"1000000000003", "1", "2"},
	}
)

// follow is the step that shows c.
func (c change) follow(ctx context.Context, d *demo) error {
	if err := c.write(d); err != nil {
		return err
	}
	if c.prepare != "" {
		sql := strings.ReplaceAll(c.prepare, "$user", `"`+d.reader+`"`)
		// A slot is made in a transaction that has written nothing.
		for statement := range strings.SplitSeq(sql, ";") {
			if err := d.db.Exec(ctx, statement); err != nil {
				return err
			}
		}
	}
	arguments := []string{"read", "--config", "changes.json", "--catalog", "changes-catalog.json"}
	first, err := d.connector(ctx, arguments...)
	if err != nil {
		return err
	}
	states := first.states()
	if err := d.write("state.json", states); err != nil {
		return err
	}
	d.line(fmt.Sprintf("the first sync brings %s records of %s", grouped(int64(len(first.records()))), c.stream))
	for statement := range strings.SplitSeq(c.edit, ";") {
		d.note(strings.Join(strings.Fields(statement), " "))
	}
	if err := d.db.Exec(ctx, c.edit); err != nil {
		return err
	}
	second, err := d.connector(ctx, append(arguments, "--state", "state.json")...)
	if err != nil {
		return err
	}
	var keys []string
	for _, m := range second.records() {
		d.show(m)
		var data map[string]json.RawMessage
		if err := json.Unmarshal(m.Record.Data, &data); err != nil {
			return fmt.Errorf("read a record of %s: %w", c.stream, err)
		}
		keys = append(keys, string(data[c.key]))
	}
	for _, key := range c.want {
		if !slices.Contains(keys, key) {
			return fmt.Errorf("the change of %s %s did not arrive", c.key, key)
		}
	}
	if len(keys) != len(c.want) && !c.more {
		return fmt.Errorf("%d records arrived, %d changes were made", len(keys), len(c.want))
	}
	return nil
}

// write makes the settings and the catalog of the method.
func (c change) write(d *demo) error {
	settings := map[string]any{"replication_method": c.method}
	for name, value := range d.settings {
		settings[name] = value
	}
	if err := d.write("changes.json", settings); err != nil {
		return err
	}
	var stream map[string]any
	for _, text := range d.streams {
		var s map[string]any
		if err := json.Unmarshal(text, &s); err != nil {
			return fmt.Errorf("read the catalog: %w", err)
		}
		if s["name"] == c.stream {
			stream = s
		}
	}
	properties := stream["json_schema"].(map[string]any)["properties"].(map[string]any)
	if c.method["method"] == "CDC" {
		for _, name := range []string{"_ab_cdc_lsn", "_ab_cdc_updated_at", "_ab_cdc_deleted_at"} {
			properties[name] = map[string]any{}
		}
	}
	return d.write("changes-catalog.json", map[string]any{"streams": []any{map[string]any{
		"stream": stream, "sync_mode": "incremental", "destination_sync_mode": "append", "cursor_field": c.cursor,
	}}})
}

// records are the records of the output.
func (o *output) records() []*message {
	var found []*message
	for i := range o.messages {
		if o.messages[i].Type == "RECORD" {
			found = append(found, &o.messages[i])
		}
	}
	return found
}

// states is what a platform keeps for the next sync: with one stream, the last state.
func (o *output) states() []json.RawMessage {
	var last json.RawMessage
	for i := range o.messages {
		if o.messages[i].Type == "STATE" {
			var m struct{ State json.RawMessage }
			_ = json.Unmarshal(o.messages[i].line, &m) // it has been read once
			last = m.State
		}
	}
	return []json.RawMessage{last}
}
