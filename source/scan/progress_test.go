package scan

import (
	"fmt"
	"testing"
	"time"
)

func TestPace(t *testing.T) {
	for _, test := range []struct {
		rows, whole int64
		after       time.Duration
		want        string
	}{
		{3_000_000, 12_000_000, 30 * time.Second, "[rows 3000000 rows_per_second 100000 percent_estimated 25 " +
			"seconds_left_estimated 90]"},
		{500, 0, 10 * time.Second, "[rows 500 rows_per_second 50]"},
		{0, 100, 10 * time.Second, "[rows 0 rows_per_second 0 percent_estimated 0]"},
		{120, 100, 60 * time.Second, "[rows 120 rows_per_second 2 percent_estimated 100]"},
	} {
		if got := fmt.Sprint(pace(test.rows, test.whole, test.after)); got != test.want {
			t.Errorf("%d of %d rows in %s: %s, want %s", test.rows, test.whole, test.after, got, test.want)
		}
	}
}
