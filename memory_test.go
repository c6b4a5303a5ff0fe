package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestGroupLimit(t *testing.T) {
	for name, test := range map[string]struct {
		files map[string]string
		want  int64
	}{
		"none":               {nil, 0},
		"version 2":          {map[string]string{"sys/fs/cgroup/memory.max": "67108864\n"}, 64 << 20},
		"version 2, no max":  {map[string]string{"sys/fs/cgroup/memory.max": "max\n"}, 0},
		"version 1":          {map[string]string{"sys/fs/cgroup/memory/memory.limit_in_bytes": "1000000\n"}, 1_000_000},
		"version 1, no max":  {map[string]string{"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}, 0},
		"not a number":       {map[string]string{"sys/fs/cgroup/memory.max": "much\n"}, 0},
		"version 2, a group": {map[string]string{"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max": "5\n"}, 5},
		"version 1, a group": {map[string]string{
			"proc/self/cgroup": "9:cpu:/x\n4:memory:/a\n",
			"sys/fs/cgroup/memory/a/memory.limit_in_bytes":     "7\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes":       "9223372036854771712\n",
			"sys/fs/cgroup/memory/x/memory.limit_in_bytes":     "3\n",
			"sys/fs/cgroup/memory/a/b/memory.limit_in_bytes":   "2\n",
			"sys/fs/cgroup/memory/other/memory.limit_in_bytes": "1\n",
		}, 7},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			for file, text := range test.files {
				path := filepath.Join(root, file)
				if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if got := groupLimit(root); got != test.want {
				t.Errorf("limit %d, want %d", got, test.want)
			}
		})
	}
}
