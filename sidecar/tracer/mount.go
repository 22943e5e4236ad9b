package tracer

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// filesystems are what tracing tools such as bpftrace and perf expect to be mounted, by path.
var filesystems = []struct{ path, kind string }{
	{"/sys/kernel/debug", "debugfs"}, {"/sys/kernel/tracing", "tracefs"}, {"/sys/fs/bpf", "bpf"},
}

// MountFilesystems mounts what tracing tools expect in this process's mount namespace, which is the sidecar's. Our own
// gadgets do not need it, so an error is only written to the container's log.
func MountFilesystems() {
	for _, f := range filesystems {
		if err := unix.Mount(f.kind, f.path, f.kind, 0, ""); err != nil && !errors.Is(err, unix.EBUSY) {
			fmt.Fprintf(os.Stderr, "osc-tracer: tools that need %s at %s will not run: %v\n", f.kind, f.path, err)
		}
	}
}
