package gadget

import (
	"strconv"
	"strings"
)

var execGadget = Gadget{
	Name: "exec", Help: "programs started, with their arguments, and those that could not be started",
	New: func() Payload { return &Exec{} },
}

// Exec is a program that a process started in its own place, or tried to start.
type Exec struct {
	File   string   `json:"file" help:"path of the program"`
	Args   []string `json:"args,omitempty" help:"arguments, the program's name first"`
	Parent uint32   `json:"ppid" field:"ppid" help:"parent process, as the sandbox numbers it; 0 if it is outside"`
	UID    uint32   `json:"uid" help:"user"`
	Error  string   `json:"error,omitempty" help:"of a program that could not be started, such as ENOENT"`
	// Cut is true if the path or the arguments may be longer.
	Cut bool `json:"cut,omitempty" help:"whether the path or the arguments may be longer"`
}

// Show implements Payload.
func (e *Exec) Show() (name, detail string) {
	detail = e.File
	if len(e.Args) > 0 {
		quoted := make([]string, len(e.Args))
		for i, a := range e.Args {
			quoted[i] = quoteArg(a)
		}
		detail = strings.Join(quoted, " ")
		if e.Args[0] != e.File {
			detail = e.File + ": " + detail
		}
	}
	if e.Cut {
		detail += "…"
	}
	if e.Error != "" {
		detail += "  " + e.Error
	}
	return execGadget.Name, detail
}

// quoteArg quotes an argument with characters that separate arguments.
func quoteArg(a string) string {
	if a == "" || strings.ContainsAny(a, " \t\n\"'\\") {
		return strconv.Quote(a)
	}
	return a
}

// Key implements Payload.
func (e *Exec) Key() string { return e.File }

// Failed implements Payload.
func (e *Exec) Failed() string { return e.Error }
