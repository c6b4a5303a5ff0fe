package protocol

import (
	"fmt"
	"os"
	"runtime/pprof"
)

// Profile starts a CPU profile if SOURCE_POSTGRES_CPU_PROFILE names a file for it. The function that comes back ends it
// and writes a heap profile if SOURCE_POSTGRES_HEAP_PROFILE names a file. What goes wrong is said on stderr: a profile
// is no reason for a sync to fail.
func Profile() (stop func()) {
	cpu := profileFile("SOURCE_POSTGRES_CPU_PROFILE")
	if cpu != nil {
		complain(pprof.StartCPUProfile(cpu))
	}
	return func() {
		if cpu != nil {
			pprof.StopCPUProfile()
			complain(cpu.Close())
		}
		if heap := profileFile("SOURCE_POSTGRES_HEAP_PROFILE"); heap != nil {
			complain(pprof.Lookup("allocs").WriteTo(heap, 0))
			complain(heap.Close())
		}
	}
}

func profileFile(variable string) *os.File {
	name := os.Getenv(variable)
	if name == "" {
		return nil
	}
	f, err := os.Create(name)
	complain(err)
	if err != nil {
		return nil
	}
	return f
}

func complain(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "profile:", err)
	}
}
