package state

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"testing"
)

// Whatever an offset holds, reading it does not break and says the same each time; where it can be gone on with, what
// had been sent of a transaction lies beyond the transactions that had been sent whole.
func FuzzParseOffsets(f *testing.F) {
	recorded, err := os.ReadFile("testdata/offsets.jsonl")
	if err != nil {
		f.Fatal(err)
	}
	lines := bufio.NewScanner(bytes.NewReader(recorded))
	for lines.Scan() {
		var r recording
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			f.Fatal(err)
		}
		text, err := json.Marshal(map[string]string{r.Key: r.Value})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text, "shop_26")
	}
	for _, text := range []string{
		`{"[\"shop\",{\"server\":\"shop\"}]":{"lsn":9,"lsn_commit":7,"txId":4294967296,"messageType":"DELETE"}}`,
		`{"{\"schema\":null,\"payload\":[\"shop\",{\"server\":\"shop\"}]}":"{\"lsn\":7,\"snapshot\":true}"}`,
		// Two offsets of a spelling that a newer one has replaced.
		`{"[\"shop\",{\"server\":\"shop\"}]":{"lsn":7},
			"[\"shop\",{\"server\":\"shop\"}]}":{"lsn":5},
			" [\"shop\",{\"server\":\"shop\"}]}":{"lsn":4}}`,
		`{"[\"a\",{\"server\":\"a\"}]":null,"[\"b\",{\"server\":\"b\"}]":null,"shop":""}`,
	} {
		f.Add([]byte(text), "shop")
	}
	f.Fuzz(func(t *testing.T, text []byte, database string) {
		log, first, err := parseOffsets(text, database)
		said := fmt.Sprintf("%+v %+v %v", log, first, err)
		for range 8 {
			log, first, err := parseOffsets(text, database)
			if again := fmt.Sprintf("%+v %+v %v", log, first, err); again != said {
				t.Fatalf("%s for database %q is once %s, once %s", text, database, said, again)
			}
		}
		switch {
		case err != nil:
		case first.at != log.LSN:
			t.Errorf("%s: the log goes on at %v, the streams at %v", text, log.LSN, first.at)
		case log.Sent != Sent{} && (log.Sent.To < log.LSN || log.Sent.XID == 0):
			t.Errorf("%s: %+v had been sent, beyond %v", text, log.Sent, log.LSN)
		}
	})
}
