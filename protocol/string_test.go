package protocol

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// Characters that would cut a line are escaped, and the rest is as it was.
func TestAppendString(t *testing.T) {
	tests := []struct{ in, want string }{
		{"", `""`},
		{"a", `"a"`},
		{"0123456", `"0123456"`},
		{"01234567", `"01234567"`},
		{"0123456789abcdef!", `"0123456789abcdef!"`},
		{`say "hi"`, `"say \"hi\""`},
		{`C:\dir\file`, `"C:\\dir\\file"`},
		{"a\nb\rc\td", `"a\nb\rc\td"`},
		{"\x00\x01\x08\x0b\x0c\x1f\x7f", `"\u0000\u0001\u0008\u000b\u000c\u001f\u007f"`},
		{"</script>&", `"</script>&"`},
		{"\u0080\u0084\u0085\u0086\u00a0\u00ff", "\"\\u0080\\u0084\\u0085\\u0086\u00a0\u00ff\""},
		{"\u2027\u2028\u2029\u202a\u2068", "\"\u2027\\u2028\\u2029\u202a\u2068\""},
		{"Миші ходять, 櫻花 🚀", `"Миші ходять, 櫻花 🚀"`},
		{"\ufeff\ufffd\uffff\U0010ffff\ud7ff\ue000", "\"\ufeff\ufffd\uffff\U0010ffff\ud7ff\ue000\""},
		{strings.Repeat(`"`, 100), `"` + strings.Repeat(`\"`, 100) + `"`},
		{strings.Repeat("\x01", 100), `"` + strings.Repeat(`\u0001`, 100) + `"`},
	}
	for _, test := range tests {
		got, valid := AppendString([]byte("before"), []byte(test.in))
		if string(got) != "before"+test.want || !valid {
			t.Errorf("AppendString(%q) = %s, %v; want %s, true", test.in, got[len("before"):], valid, test.want)
		}
	}
}

func TestAppendStringInvalid(t *testing.T) {
	tests := []struct{ in, want string }{
		{"\x80", `"\ufffd"`},
		{"caf\xe9", `"caf\ufffd"`},
		{"caf\xe9 au lait", `"caf\ufffd au lait"`},
		{"\xc0\x80\xc1\xbf", `"\ufffd\ufffd\ufffd\ufffd"`},
		{"\xc2", `"\ufffd"`},
		{"\xe2\x80", `"\ufffd\ufffd"`},
		{"\xe0\x9f\xbf", `"\ufffd\ufffd\ufffd"`},
		{"\xed\xa0\x80", `"\ufffd\ufffd\ufffd"`}, // half of a surrogate pair
		{"\xf0\x8f\xbf\xbf", `"\ufffd\ufffd\ufffd\ufffd"`},
		{"\xf4\x90\x80\x80", `"\ufffd\ufffd\ufffd\ufffd"`},
		{"\xf5\xff", `"\ufffd\ufffd"`},
		{"\xf0\x9f\x9a", `"\ufffd\ufffd\ufffd"`},
	}
	for _, test := range tests {
		if got, valid := AppendString(nil, []byte(test.in)); string(got) != test.want || valid {
			t.Errorf("AppendString(%q) = %s, %v; want %s, false", test.in, got, valid, test.want)
		}
	}
}

// A value may be unescaped at the end of the very slice that it is then appended to.
func TestAppendStringTail(t *testing.T) {
	for spare := range 64 {
		text := "tail \"\u2028\" of dst"
		dst := append(make([]byte, 0, len(text)+spare), text...)
		got, _ := AppendString(dst, dst[5:])
		if want := text + `"\"\u2028\" of dst"`; string(got) != want {
			t.Fatalf("with %d bytes to spare: %q, want %q", spare, got, want)
		}
	}
}

func TestAppendStringAllocations(t *testing.T) {
	src := []byte("Миші \"quoted\"\n\u2028 plain text that goes on for a while")
	dst := make([]byte, 0, 1024)
	if n := testing.AllocsPerRun(100, func() { dst, _ = AppendString(dst[:0], src) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzAppendString(f *testing.F) {
	for _, s := range []string{"", "abcdefgh\"", "\u0085\u2028", "\xe2\x80", "1234567\xf0\x9f\x9a\x80\x01", "\xff\xfe"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		got, valid := AppendString(nil, src)
		if valid != utf8.Valid(src) {
			t.Errorf("valid is %v", valid)
		}
		var back string
		if err := json.Unmarshal(got, &back); err != nil {
			t.Fatalf("%s: %v", got, err)
		}
		// Both replace each invalid byte.
		if want := string([]rune(string(src))); back != want {
			t.Errorf("%q comes back as %q", want, back)
		}
		if bytes.ContainsFunc(got, unicode.IsControl) || bytes.ContainsAny(got, "\u2028\u2029") {
			t.Errorf("%q has a control character or a line end", got)
		}
	})
}

func BenchmarkAppendString(b *testing.B) {
	for name, text := range map[string]string{
		"6":      "abc123",
		"20":     "just a few words now",
		"100":    strings.Repeat("plain text ", 9),
		"100k":   strings.Repeat("plain text ", 9e3),
		"json":   `{"id": 12, "name": "foo bar", "tags": ["a", "b"], "on": true}`,
		"ru":     strings.Repeat("Миші ходять ", 9),
		"zh":     strings.Repeat("櫻花飄落時", 9),
		"umlaut": "Größe der Häuser über Fußballplätze",
	} {
		b.Run(name, func(b *testing.B) {
			src, dst := []byte(text), make([]byte, 0, 3*len(text)+64)
			b.SetBytes(int64(len(src)))
			for b.Loop() {
				dst, _ = AppendString(dst[:0], src)
			}
		})
	}
}
