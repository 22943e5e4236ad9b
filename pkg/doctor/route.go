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
	warnings := &warningList{}
	runner := &session.Runner{Store: d.Store, Clock: d.Clock, Trust: d.Trust, Report: warnings, Options: session.Options{Guarded: true, ReloadInterval: d.settings.ReloadInterval, Request: plan.Request{
		Namespace: d.Namespace, Route: d.Route, Percent: typicalShare, Replicas: 1, Floor: route.KeepFloor, RuntimeClass: d.RuntimeClass, Image: d.Image,
		Force: true, Annotations: d.settings.Annotations, Routers: d.Routers, NoProbe: len(d.Routers) == 0,
	}}}
	_, err = runner.DryRun(ctx, true)
	for _, w := range warnings.list {
		e := reason.Of(w)
		if e == nil || e.Code == reason.GuardNotRunning || e.Code == reason.RoutersNotProbed {
			continue // the first has a check of its own
		}
		f, err := d.newFinding(ctx, "route: session", "", asWarning(e))
		if err != nil {
			return err
		}
		report(f)
	}
	f, err := d.newFinding(ctx, "route: dry run", "the API server admits everything that a session on this Route writes", err)
	if err == nil {
		report(f)
	}
	return err
}

// typicalShare is the share of the session that a dry run plans: high enough to matter.
const typicalShare = 50

// warningList keeps the warnings of a dry run.
type warningList struct{ list []error }

// Step implements session.Report.
func (*warningList) Step(string, string) {}

// Note implements session.Report.
func (*warningList) Note(string, ...any) {}

// Warn implements session.Report.
func (w *warningList) Warn(err error) { w.list = append(w.list, err) }
