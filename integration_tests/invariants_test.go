package integration

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
)

// checkInvariants holds a whole run against what platforms and destinations rely on, whatever the test is about.
func (r *result) checkInvariants(p *process) {
	r.t.Helper()
	r.checkOutcome(p)
	r.checkSecrets(p.in.config)
	if p.command != "read" {
		return
	}
	var configured configuredCatalog
	if json.Unmarshal(text(r.t, p.in.catalog), &configured) != nil {
		return // the test gave a catalog that is none
	}
	l := newLedger(r, &configured)
	for _, m := range r.messages {
		switch {
		case m.Record != nil:
			l.record(m.Record)
		case m.State != nil:
			l.state(m.State)
		case m.Trace != nil && m.Trace.Status != nil:
			l.status(m.Trace.Status.Stream, m.Trace.Status.Status)
		}
	}
	if !p.disturbed {
		l.close()
	}
}

// checkOutcome: exit code 0 if and only if there is no TRACE ERROR, which comes once; one answer to spec, check,
// discover.
func (r *result) checkOutcome(p *process) {
	r.t.Helper()
	errors, answers := 0, 0
	answer := map[string]string{"spec": "SPEC", "check": "CONNECTION_STATUS", "discover": "CATALOG"}[p.command]
	for _, m := range r.messages {
		switch {
		case m.Trace != nil && m.Trace.Error != nil:
			errors++
			if p.in.catalog != nil && m.Trace.EmittedAt < float64(r.begun.UnixMilli()) {
				r.t.Errorf("the TRACE ERROR's emitted_at %.0f is before the start of the run", m.Trace.EmittedAt)
			}
		case m.Type == answer:
			answers++
		case slices.Contains([]string{"SPEC", "CONNECTION_STATUS", "CATALOG"}, m.Type),
			p.command != "read" && (m.Type == "RECORD" || m.Type == "STATE"):
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
	case r.exit == 0 && answer != "" && answers != 1:
		r.t.Errorf("%s wrote %d %s messages, want 1", p.command, answers, answer)
	}
}

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
