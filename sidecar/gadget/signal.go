package gadget

import (
	"fmt"

	"golang.org/x/sys/unix"

	describe "github.com/osc-debug/osc-debug/pkg/trace/gadget"
)

var signalGadget = implementation{
	load:   loadSignal,
	tiers:  []tier{{name: rawTracepoints, required: []attachment{{to: "signal_generate", program: "signal_sent"}}}},
	decode: decodeSignal,
}

// signalResults are the kernel's TRACE_SIGNAL_ constants (include/trace/events/signal.h).
var signalResults = []string{"delivered", "ignored", "pending already", "lost: too many are pending", "delivered without its details"}

func decodeSignal(raw []byte, _ *facts) (head, describe.Payload, error) {
	e, err := castRecord[signalSignalEvent](raw)
	if err != nil {
		return head{}, nil, err
	}
	s := &describe.Signal{Signal: signalName(e.Number), From: e.From, Sender: cString(e.Sender[:]), Code: e.Code, Result: fmt.Sprintf("result %d", e.Result)}
	if e.ByKernel != 0 {
		s.Sender = "kernel"
	}
	if int(e.Result) < len(signalResults) {
		s.Result = signalResults[e.Result]
	}
	return head{e.Time, e.Pid, e.Tid, cString(e.Comm[:])}, s, nil
}

// The first and the last real-time signal that programs can use: C libraries keep two for themselves.
const (
	firstRealTime = 34
	lastRealTime  = 64
)

// signalName returns the name of a signal.
func signalName(n uint32) string {
	if name := unix.SignalName(unix.Signal(n)); name != "" {
		return name
	}
	if n >= firstRealTime && n <= lastRealTime {
		return fmt.Sprintf("SIGRTMIN+%d", n-firstRealTime)
	}
	return fmt.Sprintf("signal %d", n)
}
