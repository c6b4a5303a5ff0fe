package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"sort"
	"strings"
	"time"

	"source-postgres/protocol"
)

// A parser gathers what there is to say about the settings.
type parser struct {
	problems []error
	ignored  []string
	warnings []string
	secrets  []string
}

func (p *parser) problem(format string, args ...any) {
	p.problems = append(p.problems, &protocol.Error{Kind: protocol.Config, Message: fmt.Sprintf(format, args...)})
}

func (p *parser) warn(format string, args ...any) {
	p.warnings = append(p.warnings, fmt.Sprintf(format, args...))
}

func (p *parser) ignore(name string) {
	if !slices.Contains(p.ignored, name) {
		p.ignored = append(p.ignored, name)
	}
}

func (p *parser) hide(secret string) {
	if secret != "" && !slices.Contains(p.secrets, secret) {
		p.secrets = append(p.secrets, secret)
	}
}

func (p *parser) err() error { return errors.Join(p.problems...) }

// root reads text as a JSON object; where it is none, the form is empty and the problem noted.
func (p *parser) root(text []byte) *form {
	f := &form{parser: p}
	if err := json.Unmarshal(text, &f.fields); err != nil {
		p.problem("The settings are not a JSON object.")
	}
	return f
}

// A form is one object of the settings. Each setting is taken out by name; what is left over at the end is not known.
type form struct {
	*parser
	path   string // "" for the root, else the name of the object and a point
	fields map[string]json.RawMessage
}

// take removes a setting and gives its JSON; null counts as absent.
func (f *form) take(name string) (json.RawMessage, bool) {
	v, ok := f.fields[name]
	delete(f.fields, name)
	return v, ok && string(v) != "null"
}

// into decodes a setting; it is false where the setting is absent or of another type, which is noted.
func (f *form) into(name, what string, v any) bool {
	raw, ok := f.take(name)
	if !ok {
		return false
	}
	if err := json.Unmarshal(raw, v); err != nil {
		f.problem("Setting %q must be %s.", f.path+name, what)
		return false
	}
	return true
}

func (f *form) text(name string) string {
	var s string
	f.into(name, "a text", &s)
	if strings.ContainsRune(s, 0) {
		f.problem("Setting %q holds a NUL character.", f.path+name)
	}
	return s
}

// secret is text that must never be shown.
func (f *form) secret(name string) string {
	s := f.text(name)
	f.hide(s)
	return s
}

// texts is a list of names; absent and empty are nil.
func (f *form) texts(name string) []string {
	var list []string
	if !f.into(name, "a list of texts", &list) || len(list) == 0 {
		return nil
	}
	for _, s := range list {
		if s == "" || strings.ContainsRune(s, 0) {
			f.problem("Setting %q holds an empty name or a NUL character. Remove it.", f.path+name)
			break
		}
	}
	return list
}

func (f *form) truth(name string, absent bool) bool {
	v := absent
	if !f.into(name, "true or false", &v) {
		return absent
	}
	return v
}

// number is an integer between least and most. JSON has one kind of number, so 5432.0 is an integer too.
func (f *form) number(name string, absent, least, most int64) int64 {
	var v float64
	if !f.into(name, "a whole number", &v) {
		return absent
	}
	if v != math.Trunc(v) || v < float64(least) || v > float64(most) {
		f.problem("Setting %q must be a whole number from %d to %d.", f.path+name, least, most)
		return absent
	}
	return int64(v)
}

// seconds is a duration that is written as a number of seconds; ten years bound it.
func (f *form) seconds(name string, absent time.Duration, least int64) time.Duration {
	return time.Duration(f.number(name, int64(absent/time.Second), least, 10*365*24*3600)) * time.Second
}

// object is a setting that has settings of its own; absent, it is empty.
func (f *form) object(name string) *form {
	inner := &form{parser: f.parser, path: f.path + name + "."}
	f.into(name, "an object", &inner.fields)
	return inner
}

// rest notes whatever has not been taken as ignored.
func (f *form) rest() {
	var names []string
	for name := range f.fields {
		names = append(names, f.path+name)
	}
	sort.Strings(names)
	for _, name := range names {
		f.ignore(name)
	}
}
