package gadget

import (
	"fmt"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	describe "github.com/osc-debug/osc-debug/pkg/trace/gadget"
)

var slowGadget = implementation{
	load: loadSlow,
	tiers: []tier{{name: rawTracepoints, required: []attachment{
		{to: "sys_exit", program: "slow_exit"}, {to: "sched_process_exit", program: "slow_thread_exit"}, {to: "sys_enter", program: "slow_enter"},
	}}},
	adapt:  setPathArguments,
	decode: decodeSlow,
}

// setPathArguments tells the programs which arguments are paths.
func setPathArguments(spec *ebpf.CollectionSpec, _ *btf.Spec, _ *facts) error {
	var table [2 * compatCall]uint8
	for nr, name := range syscallNames {
		table[nr] = pathArgument(name)
	}
	for nr, name := range compatNames {
		if nr < compatCall {
			table[nr|compatCall] = pathArgument(name)
		}
	}
	return setConstant(spec, "path_argument", table)
}

// pathArgument returns which argument of a system call is a path, from 1; 0 for none.
func pathArgument(name string) uint8 {
	for i, a := range describe.ArgumentsOf(name) {
		if a == "path" {
			return uint8(i + 1)
		}
	}
	return 0
}

func decodeSlow(raw []byte, _ *facts) (head, describe.Payload, error) {
	var whole slowSlowEvent
	if len(raw) == int(unsafe.Offsetof(whole.Path)) { // the call has no path
		padded := unsafe.Slice((*byte)(unsafe.Pointer(&whole)), unsafe.Sizeof(whole))
		copy(padded, raw)
		raw = padded
	}
	e, err := castRecord[slowSlowEvent](raw)
	if err != nil {
		return head{}, nil, err
	}
	name := syscallName(e.Nr)
	s := &describe.Slow{Name: name, Took: time.Duration(e.Took), Result: e.Ret, Args: map[string]string{}}
	for i, a := range describe.ArgumentsOf(name) {
		switch a {
		case "":
		case "path":
			s.Args[a] = cString(e.Path[:])
		case "fd":
			s.Args[a] = fmt.Sprint(int32(e.Args[i]))
		default:
			s.Args[a] = fmt.Sprint(e.Args[i])
		}
	}
	if e.Ret < 0 && e.Ret >= -4095 {
		s.Error = errnoName(int32(-e.Ret))
	}
	return head{e.Time, e.Pid, e.Tid, cString(e.Comm[:])}, s, nil
}
