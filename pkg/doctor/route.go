package doctor

import (
	"context"

	"github.com/osc-debug/osc-debug/pkg/preflight"
	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/route"
	"github.com/osc-debug/osc-debug/pkg/session"
	"github.com/osc-debug/osc-debug/pkg/session/plan"
)

// checkRoute checks a Route like a session's preflight. If all checks pass, it also sends dry runs of
// everything that a session on the Route would write.
func (d *Doctor) checkRoute(ctx context.Context, report func(Finding)) error {
	facts, err := preflight.Gather(ctx, d.Core, d.Routes, d.Namespace, d.Route)
	if err != nil {
		if reason.Of(err) == nil {
			err = reason.New(reason.RouteNotRead, "why", err)
		}
		f, err := d.newFinding(ctx, "route", "", err)
		if err == nil {
			report(f)
		}
		return err
	}
	passed := true
	for _, c := range preflight.Checks() {
		if c.Name == "permissions" {
			continue // already checked, by checkPermissions
		}
		f, err := d.newFinding(ctx, "route: "+c.Name, c.Fine, c.Run(facts))
		if err != nil {
			return err
		}
		passed = passed && f.Status == OK
		report(f)
	}
	if !passed {
		return nil
	}
	runner := &session.Runner{Store: d.Store, Clock: d.Clock, Report: noReport{}, Options: session.Options{Request: plan.Request{
		Namespace: d.Namespace, Route: d.Route, Percent: 1, Floor: route.KeepFloor, RuntimeClass: d.RuntimeClass, Image: d.Image, NoProbe: true,
	}}}
	_, err = runner.DryRun(ctx, true)
	f, err := d.newFinding(ctx, "route: dry run", "the API server admits everything that a session on this Route writes", err)
	if err == nil {
		report(f)
	}
	return err
}

// noReport discards the progress of a dry run.
type noReport struct{}

func (noReport) Step(string, string) {}
func (noReport) Note(string, ...any) {}
func (noReport) Warn(error)          {}
