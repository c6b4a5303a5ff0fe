package config

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func parseURL(t *testing.T, params string) *Config {
	t.Helper()
	text, err := json.Marshal(params)
	if err != nil {
		t.Fatal(err)
	}
	return mustParse(t, `"jdbc_url_params":`+string(text))
}

func TestURLParams(t *testing.T) {
	c := parseURL(t, "?connectTimeout=20&loginTimeout=5&socketTimeout=90&ApplicationName=my%20app&tcpKeepAlive=false"+
		"&targetServerType=slave&currentSchema=a,b&prepareThreshold=0&host=elsewhere&user=root&")
	want := Driver{
		ConnectTimeout: 20 * time.Second, Silence: 90 * time.Second, ApplicationName: "my app", Target: Standby,
		Settings: []Setting{{"search_path", "a,b"}},
	}
	if !reflect.DeepEqual(c.Driver, want) {
		t.Errorf("got %+v", c.Driver)
	}
	ignored := []string{"jdbc_url_params.prepareThreshold", "jdbc_url_params.host", "jdbc_url_params.user"}
	if !slices.Equal(c.Ignored, ignored) || c.Hosts[0].Name != "h" || c.Username != "u" {
		t.Errorf("ignored %q, host %v, user %q", c.Ignored, c.Hosts, c.Username)
	}
	if got := parseURL(t, "loginTimeout=5").Driver.ConnectTimeout; got != 5*time.Second {
		t.Errorf("loginTimeout gives %s", got)
	}
	if got := parseURL(t, "connectTimeout=0").Driver.ConnectTimeout; got != 0 {
		t.Errorf("connectTimeout=0 gives %s", got)
	}
}

func TestURLParamsMalformed(t *testing.T) {
	for _, params := range []string{
		"canary", "a=1&canary", "%zz=1&options=%zz", "=canary", "connectTimeout=canary",
		"targetServerType=canary", "options=-c canary",
	} {
		c := parseURL(t, params)
		if len(c.Warnings) == 0 {
			t.Errorf("%q: no warning", params)
		}
		for _, text := range slices.Concat(c.Warnings, c.Ignored) {
			if strings.Contains(text, "canary") {
				t.Errorf("%q: a value is shown: %s", params, text)
			}
		}
	}
	if c := parseURL(t, "password=a&b=c&prepareThreshold=5"); !slices.Equal(c.Ignored,
		[]string{"jdbc_url_params.password", "jdbc_url_params.(unreadable name)"}) {
		t.Errorf("ignored %q", c.Ignored)
	}
	if c := parseURL(t, "sec ret!=1"); !slices.Equal(c.Ignored, []string{"jdbc_url_params.(unreadable name)"}) {
		t.Errorf("ignored %q", c.Ignored)
	}
}

func TestURLOptions(t *testing.T) {
	for options, want := range map[string]Driver{
		"-c statement_timeout=90000 -cbytea_output=escape": {Settings: []Setting{
			{"statement_timeout", "90000"}, {"bytea_output", "escape"},
		}},
		`--search-path=a\ b,c\\d --app.tenant=7`: {Settings: []Setting{{"search_path", `a b,c\d`}, {"app.tenant", "7"}}},
		"endpoint=ep-1  -c jit=on -d":            {Settings: []Setting{{"jit", "on"}}, Options: "endpoint=ep-1 -d"},
		"":                                       {},
	} {
		var p parser
		var got Driver
		p.options(options, &got)
		if !reflect.DeepEqual(got, want) || len(p.warnings) > 0 {
			t.Errorf("%q: got %+v, warnings %q", options, got, p.warnings)
		}
	}
}
