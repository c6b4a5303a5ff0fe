package integration

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// checkInvariants holds a whole run against what platforms and destinations rely on, whatever the test is about.
func (r *result) checkInvariants(p *process) {
	r.t.Helper()
	r.checkOutcome(p)
	r.checkSecrets(p.in.config)
	for _, m := range r.messages {
		if m.Catalog != nil {
			r.checkCatalog(m.Catalog, method(r.t, p.in.config) == "CDC")
		}
	}
	if p.command != "read" {
		return
	}
	var configured configuredCatalog
	if json.Unmarshal(text(r.t, p.in.catalog), &configured) != nil {
		return // the test gave a catalog that is none
	}
	l := newLedger(r, p.in.config, &configured)
	for _, m := range r.messages {
		switch {
		case m.Record != nil:
			l.record(m.Record)
		case m.State != nil:
			l.state(m.State)
		case m.Trace != nil:
			l.trace(m.Trace)
		}
	}
	if !p.disturbed {
		l.close()
	}
}

// answers are the types of the messages that commands write, beside LOG and the TRACE ERROR of one that fails.
var answers = map[string][]string{
	"spec": {"SPEC"}, "check": {"CONNECTION_STATUS"}, "discover": {"CATALOG"}, "read": {"RECORD", "STATE", "TRACE"},
}

// checkOutcome: exit code 0 if and only if there is no TRACE ERROR, which comes once and says when; one answer to spec,
// check, discover, or none if they fail, and nothing else.
func (r *result) checkOutcome(p *process) {
	r.t.Helper()
	errors, answered := 0, 0
	for _, m := range r.messages {
		failure := m.Trace != nil && m.Trace.Error != nil
		if failure {
			errors++
		}
		if m.Trace != nil && !r.during(int64(m.Trace.EmittedAt)) {
			r.t.Errorf("a TRACE's emitted_at %.0f is outside the run", m.Trace.EmittedAt)
		}
		switch {
		case slices.Contains(answers[p.command], m.Type):
			answered++
		case m.Type != "LOG" && !failure:
			r.t.Errorf("%s wrote a %s message", p.command, m.Type)
		}
	}
	for _, bad := range []string{"DATA RACE", "panic:", "goroutine "} {
		if strings.Contains(r.stderr, bad) {
			r.t.Errorf("stderr: %s", r.stderr)
		}
	}
	if p.disturbed {
		return
	}
	switch {
	case r.exit == 0 && errors > 0:
		r.t.Errorf("exit code 0 with a TRACE ERROR: %s", r.traceText())
	case r.exit != 0 && errors != 1:
		r.t.Errorf("exit code %d with %d TRACE ERRORs, want 1; stderr: %s", r.exit, errors, r.stderr)
	case p.command != "read" && answers[p.command] != nil && answered != 1-errors:
		r.t.Errorf("%s wrote %d %v messages and %d TRACE ERRORs", p.command, answered, answers[p.command], errors)
	}
}

// checkCatalog holds what discover offers against what a schema of it does not say: no stream comes twice, keys and
// cursors are columns, and in CDC the cursor is the log's position.
func (r *result) checkCatalog(c *catalog, log bool) {
	r.t.Helper()
	seen := map[streamName]bool{}
	for _, s := range c.Streams {
		if seen[s.name()] {
			r.t.Errorf("stream %s comes twice", s.name())
		}
		seen[s.name()] = true
		paths := slices.Clone(s.PrimaryKey)
		if len(s.DefaultCursor) > 0 {
			paths = append(paths, s.DefaultCursor)
		}
		for _, path := range paths {
			if len(path) != 1 || s.JSONSchema.Properties[path[0]] == nil {
				r.t.Errorf("stream %s: key or cursor %q is no column of its schema", s.name(), path)
			}
		}
		own := s.OwnCursor && slices.Equal(s.DefaultCursor, []string{"_ab_cdc_lsn"})
		if log && slices.Contains(s.SyncModes, "incremental") && !own {
			r.t.Errorf("stream %s: source_defined_cursor %t, default_cursor_field %q", s.name(), s.OwnCursor, s.DefaultCursor)
		}
	}
}

// method is the replication method of a configuration; nil if it has none, or is none.
func method(t *testing.T, config any) any {
	t.Helper()
	var fields any
	if json.Unmarshal(text(t, config), &fields) != nil {
		return nil
	}
	return at(fields, "replication_method", "method")
}

// during reports whether a time in milliseconds is one of the run.
func (r *result) during(at int64) bool { return at >= r.begun.UnixMilli() && at <= r.ended.UnixMilli() }

// secretFields are the settings that no output may show.
var secretFields = []string{
	"password", "client_key", "client_key_password", "ssh_key", "ssh_key_passphrase", "tunnel_user_password",
}

// checkSecrets looks for the configuration's secrets in the output, which is at level DEBUG unless the test says
// otherwise: plain, as JSON, percent-encoded, in hex and in base64. Short ones are passed over: they come up by
// accident.
func (r *result) checkSecrets(config any) {
	r.t.Helper()
	var fields any
	if config == nil || json.Unmarshal(text(r.t, config), &fields) != nil {
		return
	}
	output := r.stderr + "\n" + string(bytes.Join(r.lines, []byte("\n")))
	for _, secret := range secretsOf("", fields) {
		// A key has many lines; each of them is secret, its first and last are the same in every key.
		for part := range strings.Lines(strings.ReplaceAll(secret, `\n`, "\n")) {
			part = strings.TrimSpace(part)
			if len(part) < 8 || strings.HasPrefix(part, "-----") {
				continue
			}
			for _, form := range []string{
				part, strings.Trim(string(text(r.t, []string{part})), `["]`), url.QueryEscape(part),
				hex.EncodeToString([]byte(part)),
				base64.StdEncoding.EncodeToString([]byte(part)),
			} {
				if strings.Contains(output, form) {
					r.t.Errorf("the output shows a secret of the configuration: %q", form)
				}
			}
		}
	}
}

// secretsOf finds the values of the secret fields in a configuration, at any depth.
func secretsOf(field string, value any) []string {
	var found []string
	switch v := value.(type) {
	case map[string]any:
		for name, inner := range v {
			found = append(found, secretsOf(name, inner)...)
		}
	case string:
		if slices.Contains(secretFields, field) {
			found = append(found, v)
		}
	}
	return found
}
