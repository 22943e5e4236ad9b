package gadget

import (
	"fmt"
	"slices"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	describe "github.com/osc-debug/osc-debug/pkg/trace/gadget"
)

var slowGadget = implementation{
	load: loadSlow,
	tiers: []tier{{name: rawTracepoints, required: []attachment{
		{to: "sys_exit", program: "slow_exit"}, {to: "sched_process_exit", program: "slow_thread_exit"}, {to: "sched_process_exec", program: "slow_exec"}, {to: "sys_enter", program: "slow_enter"},
	}}},
	adapt:  setPathArguments,
	decode: decodeSlow,
}

// setPathArguments tells the programs which arguments are paths.
func setPathArguments(spec *ebpf.CollectionSpec, _ *btf.Spec, _ *facts) error {
	var table [2 * compatCall]uint8
	for nr, c := range callTable() {
		table[nr] = uint8(1 + slices.Index(c.arguments, "path")) // 0: it has none
		if table[nr] > 2 {
			return fmt.Errorf("the path of %s is not its first or second argument", c.name)
		}
	}
	return setConstant(spec, "path_argument", table)
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
	made := callOf(e.Nr)
	s := &describe.Slow{Name: made.name, Took: time.Duration(e.Took), Result: e.Ret}
	for i, a := range made.arguments {
		switch a {
		case "":
		case "path":
			s.Args = append(s.Args, describe.Argument{Name: a, Path: cString(e.Path[:])})
		case "fd", "dirfd", "from", "pid", "ms", "events": // an int: the upper half of the register says nothing
			s.Args = append(s.Args, describe.Argument{Name: a, Number: int64(int32(e.Args[i]))})
		case "op":
			s.Args = append(s.Args, describe.Argument{Name: a, Number: int64(uint32(e.Args[i]))})
		default:
			s.Args = append(s.Args, describe.Argument{Name: a, Number: int64(e.Args[i])})
		}
	}
	if e.Ret < 0 && e.Ret >= -4095 {
		s.Error = errnoName(int32(-e.Ret))
	}
	return head{e.Time, e.Pid, e.Tid, cString(e.Comm[:])}, s, nil
}
