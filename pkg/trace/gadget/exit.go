package gadget

import (
	"fmt"
	"time"
)

var exitGadget = Gadget{
	Name: "exit", Help: "processes that ended, with exit code or signal, and how long they lived",
	New: func() Payload { return &Exit{} },
}

// Exit is the end of a process: of its last thread.
type Exit struct {
	Code   int32         `json:"code" help:"exit code; 128 and the signal's number if a signal ended it"`
	Signal string        `json:"signal,omitempty" help:"that ended it, such as SIGKILL"`
	Core   bool          `json:"core,omitempty" help:"whether it left a core dump"`
	Lived  time.Duration `json:"livedNs" field:"lived" unit:"ns" help:"from the start of the process to its end"`
}

// Show implements Payload.
func (e *Exit) Show() (name, detail string) {
	how := fmt.Sprintf("code %d", e.Code)
	if e.Signal != "" {
		how = e.Signal
	}
	if e.Core {
		how += " (core dumped)"
	}
	return exitGadget.Name, fmt.Sprintf("%s  after %s", how, formatDuration(e.Lived))
}

// Key implements Payload.
func (e *Exit) Key() string {
	if e.Signal != "" {
		return e.Signal
	}
	return fmt.Sprintf("code %d", e.Code)
}

// Failed implements Payload.
func (e *Exit) Failed() string {
	if e.Code == 0 {
		return ""
	}
	return e.Key()
}
