package gadget

import (
	"fmt"
	"time"

	describe "github.com/osc-debug/osc-debug/pkg/trace/gadget"
	"github.com/osc-debug/osc-debug/sidecar/recorder"
)

// Meta returns what records of these gadgets need to be decoded later.
func (s *Starter) Meta(running []*Running) recorder.Meta {
	var m recorder.Meta
	s.clock.mu.Lock()
	for _, e := range s.clock.eras {
		m.Eras = append(m.Eras, recorder.Era{Begin: e.begin, Zero: e.zero.UnixNano()})
	}
	s.clock.mu.Unlock()
	for _, r := range running {
		if r.facts.resetReasons != nil {
			m.Reasons = r.facts.resetReasons
		}
	}
	return m
}

// Decode decodes a record of a recording.
func Decode(r recorder.Record) (*describe.Event, error) {
	how, ok := implementations[r.Gadget]
	if !ok || how.decode == nil {
		return nil, fmt.Errorf("unknown gadget %q", r.Gadget)
	}
	h, payload, err := how.decode(r.Raw, &facts{resetReasons: r.Meta.Reasons})
	if err != nil {
		return nil, err
	}
	c := clock{}
	for _, e := range r.Meta.Eras {
		c.eras = append(c.eras, era{e.Begin, time.Unix(0, e.Zero).UTC()})
	}
	if len(c.eras) == 0 {
		return nil, fmt.Errorf("record %d has no clock", r.Seq)
	}
	return &describe.Event{Gadget: r.Gadget, Time: c.at(h.time), PID: h.pid, TID: h.tid, Comm: h.comm, Payload: payload}, nil
}
