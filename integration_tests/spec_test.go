package integration

import (
	"encoding/json"
	"testing"
)

// spec needs nothing: no environment, no file, no network.
func TestSpec(t *testing.T) {
	t.Parallel()
	r := run(t, "spec", input{}).ok()
	var schema struct {
		Type       string                     `json:"type"`
		Properties map[string]json.RawMessage `json:"properties"`
	}
	for _, m := range r.messages {
		if m.Spec == nil {
			continue
		}
		if err := json.Unmarshal(m.Spec.ConnectionSpecification, &schema); err != nil {
			t.Fatal(err)
		}
	}
	for _, field := range []string{"host", "port", "database", "username", "password", "replication_method"} {
		if schema.Properties[field] == nil {
			t.Errorf("the spec has no field %s", field)
		}
	}
}

// The server of the tests is one that the connector can be pointed at.
func TestHarnessDatabase(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	db.exec("CREATE TABLE t (a int); INSERT INTO t VALUES (1), (2)")
	if n := db.value("SELECT count(*) FROM t"); n != "2" {
		t.Errorf("count = %s, want 2", n)
	}
	if level := db.value("SHOW wal_level"); level != "logical" {
		t.Errorf("wal_level = %s, want logical", level)
	}
}
