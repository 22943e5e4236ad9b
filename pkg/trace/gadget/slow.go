package gadget

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// SlowCall is how long a call takes at least to be an event of gadget slow, unless a trace says otherwise.
const SlowCall = 10 * time.Millisecond

var slowGadget = Gadget{
	Name: "slow", Help: "system calls that take 10 ms or longer (--slower-than), with their arguments", Unseen: "calls that io_uring makes",
	New: func() Payload { return &Slow{} },
}

// Slow is a system call that took long.
type Slow struct {
	Name   string            `json:"name" field:"call" help:"of the system call; those of the 32-bit table are marked"`
	Args   map[string]string `json:"args,omitempty" help:"arguments that matter, such as path and fd"`
	Result int64             `json:"result" help:"what the call returned"`
	Error  string            `json:"error,omitempty" help:"such as EAGAIN"`
	Took   time.Duration     `json:"tookNs" field:"took" unit:"ns" help:"duration of the system call"`
}

// Show implements Payload.
func (s *Slow) Show() (name, detail string) {
	detail = s.Name
	for _, a := range slices.Sorted(maps.Keys(s.Args)) {
		detail += fmt.Sprintf("  %s %s", a, s.Args[a])
	}
	result := fmt.Sprintf("= %d", s.Result)
	if s.Error != "" {
		result = s.Error
	}
	return slowGadget.Name, fmt.Sprintf("%s  %s  %s", detail, result, formatDuration(s.Took))
}

// Key implements Payload.
func (s *Slow) Key() string { return s.Name }

// Failed implements Payload.
func (s *Slow) Failed() string { return s.Error }

// arguments names the arguments of system calls that matter, in the order of the call; "" for one that does not.
var arguments = map[string][]string{
	"read": {"fd", "", "bytes"}, "write": {"fd", "", "bytes"}, "readv": {"fd"}, "writev": {"fd"}, "pread64": {"fd", "", "bytes", "offset"},
	"pwrite64": {"fd", "", "bytes", "offset"}, "close": {"fd"}, "fsync": {"fd"}, "fdatasync": {"fd"}, "ftruncate": {"fd", "bytes"},
	"open": {"path"}, "openat": {"dirfd", "path"}, "openat2": {"dirfd", "path"}, "creat": {"path"}, "stat": {"path"}, "lstat": {"path"},
	"newfstatat": {"dirfd", "path"}, "statx": {"dirfd", "path"}, "access": {"path"}, "faccessat": {"dirfd", "path"}, "faccessat2": {"dirfd", "path"},
	"unlink": {"path"}, "unlinkat": {"dirfd", "path"}, "mkdir": {"path"}, "mkdirat": {"dirfd", "path"}, "rmdir": {"path"}, "rename": {"path"},
	"readlink": {"path"}, "readlinkat": {"dirfd", "path"}, "execve": {"path"}, "execveat": {"dirfd", "path"}, "chdir": {"path"},
	"connect": {"fd"}, "accept": {"fd"}, "accept4": {"fd"}, "sendto": {"fd", "", "bytes"}, "recvfrom": {"fd", "", "bytes"}, "sendmsg": {"fd"},
	"recvmsg": {"fd"}, "sendfile": {"fd", "from"}, "epoll_wait": {"fd", "", "events", "ms"}, "epoll_pwait": {"fd", "", "events", "ms"},
	"flock": {"fd", "op"}, "fcntl": {"fd", "op"}, "ioctl": {"fd", "op"}, "futex": {"", "op"}, "wait4": {"pid"}, "mount": {"", "path"},
}

// ArgumentsOf names the arguments of a system call that matter, in the order of the call; "" for one that does not.
func ArgumentsOf(call string) []string { return arguments[call] }
