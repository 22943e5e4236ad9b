package session

import (
	"context"
	"errors"
	"time"

	"github.com/osc-debug/osc-debug/pkg/route"
	"github.com/osc-debug/osc-debug/pkg/route/probe"
	"github.com/osc-debug/osc-debug/pkg/session/store"
)

// Drain waits until routers and connections have let go of a sandbox: at least for d,
// and on until a pinned request no longer reaches it by any of the probes. Routers that may be
// late get that time too, unless all is known to be asked, each of them.
func Drain(d time.Duration, probes []*probe.Probe, all bool, endpoints []route.Endpoint) func(context.Context, time.Duration) error {
	return func(ctx context.Context, late time.Duration) error {
		within := drainedWithin + late
		if !all {
			d += late
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(d):
		}
		ctx, cancel := context.WithTimeout(ctx, within)
		defer cancel()
		for _, p := range probes {
			for _, e := range endpoints {
				if err := drained(ctx, p, e); err != nil {
					return err
				}
			}
		}
		return nil
	}
}

// drained waits until a router no longer knows a server.
func drained(ctx context.Context, p *probe.Probe, e route.Endpoint) error {
	last := false
	for {
		_, reached, err := p.Pinned(ctx, e)
		if err == nil && !reached {
			return nil
		}
		if ctx.Err() == nil {
			last = reached
		}
		select {
		case <-ctx.Done():
			if last && errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return &store.StillReached{Pod: e.Pod}
			}
			return ctx.Err()
		case <-time.After(probeEvery):
		}
	}
}

// probes are those of the routers.
func (r *Runner) probes() (out []*probe.Probe) {
	for _, f := range r.fronts {
		out = append(out, f.Probe)
	}
	return out
}
