package gadget

import (
	"time"

	"golang.org/x/sys/unix"

	describe "github.com/osc-debug/osc-debug/pkg/trace/gadget"
)

var openGadget = implementation{
	load: loadOpen,
	tiers: []tier{{name: rawTracepoints, required: []attachment{
		{to: "sys_exit", program: "open_exit"}, {to: "sys_enter", program: "open_enter"},
	}}},
	decode: decodeOpen,
}

func decodeOpen(raw []byte, _ *facts) (head, describe.Payload, error) {
	e, err := castRecord[openOpenEvent](raw)
	if err != nil {
		return head{}, nil, err
	}
	open := &describe.Open{
		Path: cString(e.Path[:]), Flags: e.Flags, FlagNames: openFlags(e.Flags), FD: e.Ret, Took: time.Duration(e.Took), Compat: e.Compat != 0,
	}
	open.Cut = len(open.Path) == len(e.Path)-1
	if e.DirAt < dirLength {
		open.Dir = cString(e.Dir[e.DirAt:dirLength])
		if e.DirCut != 0 {
			open.Dir = "…" + open.Dir
		}
	}
	if e.Ret < 0 {
		open.FD, open.Error = -1, errnoName(-e.Ret)
	}
	return head{e.Time, e.Pid, e.Tid, cString(e.Comm[:])}, open, nil
}

// dirLength is how much of a record's dir has the directory: DIR_LEN in open.bpf.c.
const dirLength = 256

// openFlagNames are the flags of open(2), those that include others first.
var openFlagNames = []struct {
	bits uint32
	name string
}{
	{unix.O_TMPFILE, "O_TMPFILE"}, {unix.O_SYNC, "O_SYNC"}, {unix.O_DSYNC, "O_DSYNC"}, {unix.O_APPEND, "O_APPEND"}, {unix.O_ASYNC, "O_ASYNC"},
	{unix.O_CLOEXEC, "O_CLOEXEC"}, {unix.O_CREAT, "O_CREAT"}, {unix.O_DIRECT, "O_DIRECT"}, {unix.O_DIRECTORY, "O_DIRECTORY"}, {unix.O_EXCL, "O_EXCL"},
	{unix.O_NOATIME, "O_NOATIME"}, {unix.O_NOCTTY, "O_NOCTTY"}, {unix.O_NOFOLLOW, "O_NOFOLLOW"}, {unix.O_NONBLOCK, "O_NONBLOCK"},
	{unix.O_PATH, "O_PATH"}, {unix.O_TRUNC, "O_TRUNC"},
}

// openFlags returns the names of the flags of open(2).
func openFlags(flags uint32) []string {
	names := []string{[]string{"O_RDONLY", "O_WRONLY", "O_RDWR", "O_ACCMODE"}[flags&unix.O_ACCMODE]}
	for _, f := range openFlagNames {
		if flags&f.bits == f.bits {
			names = append(names, f.name)
			flags &^= f.bits
		}
	}
	return names
}
