package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

func spec(ctx context.Context, d *demo) error {
	out, err := d.connector(ctx, "spec")
	if err != nil {
		return err
	}
	m, err := out.only("SPEC")
	if err != nil {
		return err
	}
	form := m.Spec.ConnectionSpecification
	names := slices.SortedFunc(maps.Keys(form.Properties), func(a, b string) int {
		return cmp.Compare(form.Properties[a].Order, form.Properties[b].Order)
	})
	for i, name := range names {
		if slices.Contains(form.Required, name) {
			names[i] += "*"
		}
		names[i] += " "
	}
	d.show(m)
	d.block(append([]string{"settings (* required): "}, names...))
	return nil
}

func check(ctx context.Context, d *demo) error {
	out, err := d.connector(ctx, "check", "--config", "config.json")
	if err != nil {
		return err
	}
	m, err := out.only("CONNECTION_STATUS")
	if err != nil {
		return err
	}
	if m.ConnectionStatus.Status != "SUCCEEDED" {
		return fmt.Errorf("the connection is %s: %s", m.ConnectionStatus.Status, m.ConnectionStatus.Message)
	}
	d.show(m)
	return nil
}

// discover shows the streams and writes the configured catalog for read.
func discover(ctx context.Context, d *demo) error {
	out, err := d.connector(ctx, "discover", "--config", "config.json")
	if err != nil {
		return err
	}
	m, err := out.only("CATALOG")
	if err != nil {
		return err
	}
	d.streams = m.Catalog.Streams
	d.show(m)
	d.note(fmt.Sprintf("%-14s %-16s %-12s %s", "stream", "primary key", "incremental", "columns"))
	configured := []any{}
	for _, text := range d.streams {
		var s struct {
			Name       string
			JSONSchema struct{ Properties map[string]any } `json:"json_schema"`
			Modes      []string                            `json:"supported_sync_modes"`
			Key        [][]string                          `json:"source_defined_primary_key"`
		}
		if err := json.Unmarshal(text, &s); err != nil {
			return fmt.Errorf("read the catalog: %w", err)
		}
		key, incremental := "-", "-"
		if len(s.Key) > 0 {
			key = strings.Join(slices.Concat(s.Key...), ", ")
		}
		if slices.Contains(s.Modes, "incremental") {
			incremental = "yes"
		}
		columns := slices.Sorted(maps.Keys(s.JSONSchema.Properties))
		d.line(fmt.Sprintf("%-14s %-16s %-12s %d: %s",
			s.Name, key, incremental, len(columns), strings.Join(columns, ", ")))
		configured = append(configured, map[string]any{
			"stream": text, "sync_mode": "full_refresh", "destination_sync_mode": "overwrite",
		})
	}
	return d.write("catalog.json", map[string]any{"streams": configured})
}
