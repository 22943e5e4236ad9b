package gadget

import (
	"cmp"
	"fmt"
	"strings"
	"time"
)

var openGadget = Gadget{
	Name: "open", Help: "files opened, with result and time taken", Unseen: "files opened by io_uring",
	New: func() Payload { return &Open{} },
}

// Open is an attempt to open a file.
type Open struct {
	Path      string        `json:"path" help:"as the program gave it: relative to its working directory or to a directory that it opened"`
	Dir       string        `json:"dir,omitempty" help:"directory that a relative path starts from, as the program sees it; also the root that openat2 was given for an absolute one"`
	Flags     uint32        `json:"flags" help:"of open(2), as a number"`
	FlagNames []string      `json:"flagNames,omitempty" help:"names of the flags"`
	FD        int32         `json:"fd" help:"file descriptor, -1 if it failed"`
	Error     string        `json:"error,omitempty" help:"such as ENOENT"`
	Took      time.Duration `json:"tookNs" field:"took" unit:"ns" help:"duration of the system call"`
	// Cut is true if the path may be longer: Path has what fits into an event.
	Cut bool `json:"cut,omitempty" help:"whether the path may be longer"`
	// Compat is true for a 32-bit program.
	Compat bool `json:"compat,omitempty" help:"whether it was a call of the 32-bit table"`
}

// Show implements Payload.
func (o *Open) Show() (name, detail string) {
	path := o.Full()
	if o.Cut {
		path += "…"
	}
	return openGadget.Name, fmt.Sprintf("%s  %s  %s", path, cmp.Or(o.Error, fmt.Sprintf("fd %d", o.FD)), formatDuration(o.Took))
}

// Full returns the path with the directory that it starts from, if it is relative.
func (o *Open) Full() string {
	if o.Dir == "" {
		return o.Path
	}
	return strings.TrimSuffix(o.Dir, "/") + "/" + strings.TrimPrefix(o.Path, "/")
}

// Key implements Payload.
func (o *Open) Key() string { return o.Full() }

// Failed implements Payload.
func (o *Open) Failed() string { return o.Error }
