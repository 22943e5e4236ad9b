package gadget

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
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
	Name   string        `json:"name" field:"call" help:"of the system call; those of the 32-bit table are marked"`
	Args   Arguments     `json:"args,omitempty" help:"arguments that matter, such as path and fd"`
	Result int64         `json:"result" help:"what the call returned"`
	Error  string        `json:"error,omitempty" help:"such as EAGAIN"`
	Took   time.Duration `json:"tookNs" field:"took" unit:"ns" help:"duration of the system call"`
}

// Arguments are those of a call that matter. In JSON they are an object of texts.
type Arguments []Argument

// Argument is an argument of a call.
type Argument struct {
	Name   string
	Path   string // of an argument that is a path
	Number int64  // of another, as a signed number
}

// text returns the argument's value.
func (a Argument) text() string {
	if a.Name == pathName {
		return a.Path
	}
	return strconv.FormatInt(a.Number, 10)
}

// pathName is the name of an argument that is a path.
const pathName = "path"

// appendJSON implements jsonAppender.
func (args Arguments) appendJSON(to []byte) []byte {
	to = append(to, '{')
	for i, a := range args {
		if i > 0 {
			to = append(to, ',')
		}
		to = append(appendString(to, a.Name), ':')
		if a.Name == pathName {
			to = appendString(to, a.Path)
		} else {
			to = append(strconv.AppendInt(append(to, '"'), a.Number, 10), '"')
		}
	}
	return append(to, '}')
}

// MarshalJSON implements json.Marshaler.
func (args Arguments) MarshalJSON() ([]byte, error) { return args.appendJSON(nil), nil }

// UnmarshalJSON implements json.Unmarshaler. The arguments are sorted by their names.
func (args *Arguments) UnmarshalJSON(data []byte) error {
	var texts map[string]string
	if err := json.Unmarshal(data, &texts); err != nil {
		return err
	}
	*args = nil
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		a := Argument{Name: name}
		if !argumentNames[name] {
			return fmt.Errorf("unknown argument %.40q", name)
		}
		if name == pathName {
			a.Path = texts[name]
		} else {
			n, err := strconv.ParseInt(texts[name], 10, 64)
			if err != nil {
				return fmt.Errorf("argument %.40q is not a number: %w", name, err)
			}
			a.Number = n
		}
		*args = append(*args, a)
	}
	return nil
}

// String returns the arguments for a table.
func (args Arguments) String() string {
	var texts []string
	for _, a := range args {
		texts = append(texts, a.Name+" "+a.text())
	}
	return strings.Join(texts, "  ")
}

// Show implements Payload.
func (s *Slow) Show() (name, detail string) {
	detail = s.Name
	if len(s.Args) > 0 {
		detail += "  " + s.Args.String()
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

// argumentNames has all names of arguments.
var argumentNames = func() map[string]bool {
	names := map[string]bool{}
	for _, list := range arguments {
		for _, name := range list {
			names[name] = name != ""
		}
	}
	return names
}()

// ArgumentsOf names the arguments of a system call that matter, in the order of the call; "" for one that does not.
func ArgumentsOf(call string) []string { return arguments[call] }
