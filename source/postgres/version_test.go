package postgres

import "testing"

func TestVersionNumber(t *testing.T) {
	for text, want := range map[string]int{
		"15.18 (Debian 15.18-0+deb12u1)": 150018, "18beta1": 180000, "17rc1": 170000, "9.6.24": 90624, "16": 160000,
		"13.0": 130000, "14.5.1": 140005, "": 0, "unknown": 0,
	} {
		if got := versionNumber(text); got != want {
			t.Errorf("%q: %d", text, got)
		}
	}
}
