package main

import (
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
)

// spare is the part of a memory limit, one in so many, that is not for Go's heap: stacks, the program, sockets.
const spare = 4

// limitMemory makes the garbage collector keep to the memory that the process's control group may have, beyond which
// the kernel would end it. GOMEMLIMIT, if it is set, holds instead.
func limitMemory(root string) {
	if os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	if limit := groupLimit(root); limit > 0 {
		debug.SetMemoryLimit(limit - limit/spare)
	}
}

// groupLimit is the limit in bytes; 0 if there is none, or none that can be read. root is / but in tests. In a
// container the group is the root of what it sees. Source: the kernel's documentation, cgroup-v2 and cgroup-v1/memory.
func groupLimit(root string) int64 {
	text, _ := os.ReadFile(filepath.Join(root, "proc/self/cgroup")) // without it the paths of a container are tried
	files := []string{"sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes"}
	for line := range strings.Lines(string(text)) {
		// hierarchy:controllers:path
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		switch {
		case len(fields) != 3:
		case fields[1] == "":
			files = append(files, filepath.Join("sys/fs/cgroup", fields[2], "memory.max"))
		case strings.Contains(","+fields[1]+",", ",memory,"):
			files = append(files, filepath.Join("sys/fs/cgroup/memory", fields[2], "memory.limit_in_bytes"))
		}
	}
	lowest := int64(math.MaxInt64)
	for _, file := range files {
		text, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64) // "max" is none
		if err == nil && n > 0 {
			lowest = min(lowest, n)
		}
	}
	if lowest > 1<<50 { // version 1 says "none" with a number near the largest
		return 0
	}
	return lowest
}
