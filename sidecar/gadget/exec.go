package gadget

import (
	"strings"

	describe "github.com/osc-debug/osc-debug/pkg/trace/gadget"
)

var execGadget = implementation{
	load: loadExec,
	tiers: []tier{{name: rawTracepoints, required: []attachment{
		{to: "sched_process_exec", program: "exec_started"}, {to: "sys_exit", program: "exec_failed"}, {to: "sys_enter", program: "exec_enter"},
	}}},
	decode: decodeExec,
}

func decodeExec(raw []byte, _ *facts) (head, describe.Payload, error) {
	e, err := castRecord[execExecEvent](raw)
	if err != nil {
		return head{}, nil, err
	}
	exec := &describe.Exec{File: cString(e.File[:]), Parent: e.Parent, UID: e.Uid, Error: errnoName(e.Error)}
	exec.Cut = len(exec.File) == len(e.File)-1 || int(e.ArgsLen) > len(e.Args)
	if length := min(int(e.ArgsLen), len(e.Args)); length > 0 {
		args := make([]byte, length)
		for i, b := range e.Args[:length] {
			args[i] = byte(b)
		}
		exec.Args = strings.Split(strings.TrimSuffix(string(args), "\x00"), "\x00")
	}
	return head{e.Time, e.Pid, e.Tid, cString(e.Comm[:])}, exec, nil
}
