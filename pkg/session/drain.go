package session

import (
	"context"
	"errors"
	"time"

	"github.com/osc-debug/osc-debug/pkg/kube"
	"github.com/osc-debug/osc-debug/pkg/route"
	"github.com/osc-debug/osc-debug/pkg/route/probe"
	"github.com/osc-debug/osc-debug/pkg/session/store"
)

// Drain returns a function that waits until routers no longer send traffic to a sandbox: at least
// for d, and until pinned requests of all probes no longer reach the endpoints. The function's
// argument late is how long routers may still use old weights after an outage. It is added to d,
// unless allProbed says that every router is probed. The error is *store.StillReached if an
// endpoint is still reached after a minute and late.
func Drain(d time.Duration, probes []*probe.Probe, allProbed bool, endpoints []route.Endpoint) func(context.Context, time.Duration) error {
	return func(ctx context.Context, late time.Duration) error {
		within := drainedTimeout + late
		if !allProbed {
			d += late
		}
		if err := kube.Sleep(ctx, d); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(ctx, within)
		defer cancel()
		for _, p := range probes {
			for _, e := range endpoints {
				if err := waitUnreachable(ctx, p, e); err != nil {
					return err
				}
			}
		}
		return nil
	}
}

// waitUnreachable waits until a router no longer sends pinned requests to an endpoint.
func waitUnreachable(ctx context.Context, p *probe.Probe, e route.Endpoint) error {
	last := false
	for {
		_, reached, err := p.Pinned(ctx, e)
		if err == nil && !reached {
			return nil
		}
		if ctx.Err() == nil {
			last = reached
		}
		if err := kube.Sleep(ctx, probeInterval); err != nil {
			if last && errors.Is(err, context.DeadlineExceeded) {
				return &store.StillReached{Pod: e.Pod}
			}
			return err
		}
	}
}

// probes returns the probe of each router.
func (r *Runner) probes() (out []*probe.Probe) {
	for _, f := range r.routerProbes {
		out = append(out, f.Probe)
	}
	return out
}
