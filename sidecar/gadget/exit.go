package gadget

import (
	"time"

	describe "github.com/osc-debug/osc-debug/pkg/trace/gadget"
)

var exitGadget = implementation{
	load:   loadExit,
	tiers:  []tier{{name: rawTracepoints, required: []attachment{{to: "sched_process_exit", program: "process_exit"}}}},
	decode: decodeExit,
}

// Parts of a process's status, as wait(2) returns it.
const (
	statusSignal = 0x7f
	statusCore   = 0x80
	statusCode   = 8 // bits to shift
)

func decodeExit(raw []byte, _ *facts) (head, describe.Payload, error) {
	e, err := castRecord[exitExitEvent](raw)
	if err != nil {
		return head{}, nil, err
	}
	exit := &describe.Exit{Code: int32(e.Status >> statusCode & 0xff), Core: e.Status&statusCore != 0, Lived: time.Duration(e.Lived)}
	if signal := e.Status & statusSignal; signal != 0 {
		exit.Code, exit.Signal = int32(128+signal), signalName(signal)
	}
	return head{e.Time, e.Pid, e.Tid, cString(e.Comm[:])}, exit, nil
}
