package doctor

import (
	"context"

	"github.com/osc-debug/osc-debug/pkg/preflight"
	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/route"
	"github.com/osc-debug/osc-debug/pkg/session"
	"github.com/osc-debug/osc-debug/pkg/session/plan"
)

// route looks at one Route as a session's preflight does, and has the API server judge
// everything that a session on it would write.
func (d *Doctor) route(ctx context.Context, tell func(Finding)) error {
	facts, err := preflight.Gather(ctx, d.Core, d.Routes, d.Namespace, d.Route)
	if err != nil {
		if reason.Of(err) == nil {
			err = reason.New(reason.RouteNotRead, "why", err)
		}
		f, err := d.found(ctx, "route", "", err)
		if err == nil {
			tell(f)
		}
		return err
	}
	sound := true
	for _, c := range preflight.Checks() {
		if c.Name == "permissions" {
			continue // looked at above
		}
		f, err := d.found(ctx, "route: "+c.Name, c.Fine, c.Run(facts))
		if err != nil {
			return err
		}
		sound = sound && f.Status == OK
		tell(f)
	}
	if !sound {
		return nil
	}
	runner := &session.Runner{Store: d.Store, Clock: d.Clock, Report: silent{}, Options: session.Options{Request: plan.Request{
		Namespace: d.Namespace, Route: d.Route, Percent: 1, Floor: route.KeepFloor, RuntimeClass: d.RuntimeClass, Image: d.Image, NoProbe: true,
	}}}
	_, err = runner.DryRun(ctx, true)
	f, err := d.found(ctx, "route: dry run", "the API server admits everything that a session on it writes", err)
	if err == nil {
		tell(f)
	}
	return err
}

// silent is a report for nobody.
type silent struct{}

func (silent) Step(string, string) {}
func (silent) Note(string, ...any) {}
func (silent) Warn(error)          {}
