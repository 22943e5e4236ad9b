package gadget

import (
	"errors"

	"github.com/cilium/ebpf/btf"

	describe "github.com/osc-debug/osc-debug/pkg/trace/gadget"
)

var oomGadget = implementation{
	load: loadOom,
	tiers: []tier{
		{name: rawTracepoints, check: marksVictimTask, required: []attachment{{to: "mark_victim", program: "oom_victim"}}},
		{name: kernelProbes, required: []attachment{{to: "oom_kill_process", program: "oom_kill", kprobe: true}}},
	},
	decode: decodeOOM,
}

// marksVictimTask returns an error if tracepoint mark_victim has the victim's number only, as before 6.8.
func marksVictimTask(kernel *btf.Spec) error {
	if params := argumentsOf(kernel, "mark_victim"); len(params) > 0 {
		if _, isPointer := params[0].Type.(*btf.Pointer); isPointer {
			return nil
		}
	}
	return errors.New("tracepoint mark_victim does not have the victim's task")
}

func decodeOOM(raw []byte, _ *facts) (head, describe.Payload, error) {
	e, err := castRecord[oomOomEvent](raw)
	if err != nil {
		return head{}, nil, err
	}
	return head{e.Time, e.Pid, e.Tid, cString(e.Comm[:])}, &describe.OOM{By: e.By, Needy: cString(e.Needy[:]), Score: e.Score}, nil
}
