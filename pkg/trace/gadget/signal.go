package gadget

import "fmt"

var signalGadget = Gadget{
	Name: "signal", Help: "signals sent to the program's processes, with sender and result",
	New: func() Payload { return &Signal{} },
}

// Signal is a signal that was sent to a process of the program. The event's process is the receiver.
type Signal struct {
	Signal string `json:"signal" help:"name, such as SIGTERM"`
	From   uint32 `json:"from" help:"process that sent it, as the sandbox numbers it; 0 for the kernel and for processes outside"`
	Sender string `json:"sender" help:"name of the thread that sent it, or kernel"`
	Code   int32  `json:"code" help:"si_code: 0 is kill(2), -1 sigqueue(3), -6 tgkill(2); others are the kernel's"`
	Result string `json:"result" help:"delivered, ignored, pending already, or lost"`
}

// Show implements Payload.
func (s *Signal) Show() (name, detail string) {
	return signalGadget.Name, fmt.Sprintf("%s from %s (%d): %s", s.Signal, s.Sender, s.From, s.Result)
}

// Key implements Payload.
func (s *Signal) Key() string { return s.Signal + " from " + s.Sender }

// Failed implements Payload.
func (*Signal) Failed() string { return "" }
