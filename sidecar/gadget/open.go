package gadget

import (
	"time"

	"github.com/osc-debug/osc-debug/pkg/trace/frame"
	"github.com/osc-debug/osc-debug/sidecar/target"
)

func startOpen(t *target.Target) (*Running, error) {
	spec, err := loadOpen()
	if err != nil {
		return nil, err
	}
	if err := setConstants(spec, t); err != nil {
		return nil, err
	}
	var o openObjects
	if err := spec.LoadAndAssign(&o, nil); err != nil {
		return nil, err
	}
	return attachPrograms(o.Events, o.Counters, []attachment{{"sys_exit", o.OpenExit}, {"sys_enter", o.OpenEnter}}, decodeOpen, o.Close)
}

func decodeOpen(raw []byte, boot time.Time) (*frame.Event, error) {
	e, err := castRecord[openOpenEvent](raw)
	if err != nil {
		return nil, err
	}
	open := &frame.Open{Path: cString(e.Path[:]), Flags: e.Flags, FD: e.Ret, Took: time.Duration(e.Took)}
	if e.Ret < 0 {
		open.FD, open.Error = -1, errnoName(-e.Ret)
	}
	return &frame.Event{Time: boot.Add(time.Duration(e.Time)), PID: e.Pid, TID: e.Tid, Comm: cString(e.Comm[:]), Open: open}, nil
}
