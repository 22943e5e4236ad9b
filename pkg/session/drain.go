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
// for d, and until pinned requests of all probes no longer reach the endpoints. The probes must be of
// routers whose cookie comes through to clients. The function's
// argument late is how long routers may still use old weights after an outage. It is added to d,
// unless allProbed says that every router is probed. The error is *store.StillReached if an
// endpoint is still reached after a minute and late.
func Drain(d time.Duration, probes []*probe.Probe, allProbed bool, endpoints []route.Endpoint) func(context.Context, time.Duration) error {
	return func(ctx context.Context, late time.Duration) error {
		within, least := drainedTimeout+late, d
		if !allProbed {
			least += late
		}
		if err := kube.Sleep(ctx, least); err != nil {
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

// probesThatPin returns the probes of routers whose cookie comes through to clients, and whether these are all
// routers. At other routers, a pinned request is a plain one, and says nothing about the endpoints. tries has the
// probes to try for each router.
func probesThatPin(ctx context.Context, tries [][]*probe.Probe, endpoints []route.Endpoint) (able []*probe.Probe, all bool) {
	for _, ofRouter := range tries {
		for _, p := range ofRouter {
			if plain, err := p.Plain(ctx); err == nil && p.CanPin(plain, endpoints) {
				able = append(able, p)
				break
			}
		}
	}
	return able, len(able) == len(tries)
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

// probes returns the probe of each router at which requests can be pinned, and whether these are all.
func (r *Runner) probes() (out []*probe.Probe, all bool) {
	for _, f := range r.routerProbes {
		if f.pins {
			out = append(out, f.Probe)
		}
	}
	return out, len(out) == len(r.routerProbes)
}
