package session

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osc-debug/osc-debug/pkg/kube"
	"github.com/osc-debug/osc-debug/pkg/kube/exec"
	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/route"
	"github.com/osc-debug/osc-debug/pkg/route/probe"
	"github.com/osc-debug/osc-debug/pkg/session/plan"
	"github.com/osc-debug/osc-debug/pkg/session/record"
	"github.com/osc-debug/osc-debug/pkg/session/store"
	"github.com/osc-debug/osc-debug/pkg/workload"
)

// Rollback ends sessions of a namespace, whichever command began them.
type Rollback struct {
	store.Store
	Namespace string
	Clock     *kube.Clock
	Report    Report
	Exec      exec.Client   // asks a sandbox for its connections
	Routers   []string      // where to see that a router let go; none: only wait
	Drain     time.Duration // least time between restoring a Route and deleting its sandbox
	Timeout   time.Duration // of all of it beyond the drain
	Wait      bool          // until the sandbox is gone; else the guard deletes it
	Now       bool          // all traffic at once, also to an original that an autoscaler shrank
}

// Ended is how a session's end went.
type Ended struct {
	Namespace, Route string
	Session          string // "" where the Route had none
	Foreign          bool   // somebody else had changed the Route; that stayed
	Nothing          bool   // no session was on it, and nothing was left
	Guarded          bool   // the guard deletes the sandbox
}

// One ends the session on a Route. On a Route without one it deletes what sessions left.
func (r Rollback) One(ctx context.Context, on Found) (Ended, error) {
	ended := Ended{Namespace: on.Route.Namespace, Route: on.Route.Name}
	if on.Session == nil {
		left, err := r.sweep(ctx, on.Route.Name, string(on.Route.UID))
		ended.Nothing = !left && err == nil
		return ended, err
	}
	ended.Session = on.Session.ID
	if !record.ValidID(on.Session.ID) {
		return ended, reason.New(reason.JournalNamesNoSession, "namespace", on.Route.Namespace, "route", on.Route.Name, "why", on.Session.Broken, "annotation", record.JournalKey)
	}
	r.ramp(ctx, on)
	if !r.Wait {
		ended.Guarded = true
		_, out, err := r.Restore(ctx, on.Route.Namespace, on.Route.Name, on.Session.ID, on.Route)
		ended.Foreign = out.Foreign
		return ended, err
	}
	e := store.Ending{Store: r.Store, Namespace: on.Route.Namespace, Route: on.Route.Name, ID: on.Session.ID, Step: r.Report.Step}
	if on.Session.State != record.Arming {
		e.Drain = r.drain(ctx, on)
	}
	out, err := e.Run(ctx)
	ended.Foreign = out.Foreign
	return ended, err
}

// All ends every session of the namespace, at the same time since each drains, and deletes what
// sessions left on Routes that know of none. begin is told each session before its end begins.
func (r Rollback) All(ctx context.Context, begin func(Found)) (ended []Ended, errs []error, swept bool) {
	all, err := Finder{r.Store, r.Namespace}.List(ctx)
	if err != nil {
		return nil, []error{err}, false
	}
	ended, errs = make([]Ended, len(all)), make([]error, len(all))
	var running sync.WaitGroup
	ids := map[string]bool{}
	for i, one := range all {
		begin(one)
		ids[one.Session.ID] = true
		running.Go(func() { ended[i], errs[i] = r.One(ctx, one) })
	}
	running.Wait()
	if r.Wait { // else the guard's
		swept, err = r.sweepAll(ctx, ids)
		errs = append(errs, err)
	}
	return ended, errs, swept
}

// courtesyTime bounds what is read to tell more before the Route is restored, which never
// waits longer for it and never fails by it.
const courtesyTime = 5 * time.Second

// drain waits for the routers, and tells of the connections that deleting the sandbox cuts.
func (r Rollback) drain(ctx context.Context, on Found) func(context.Context, time.Duration) error {
	read, cancel := context.WithTimeout(ctx, courtesyTime)
	defer cancel()
	wait := Drain(r.Drain, nil, false, nil)
	slices, err := r.Core.DiscoveryV1().EndpointSlices(on.Route.Namespace).List(read, metav1.ListOptions{LabelSelector: record.Label + "=" + on.Session.ID})
	if err != nil {
		r.Report.Warn(reason.New(reason.ConnectionsNotTold, "why", err))
		return wait
	}
	endpoints := route.Endpoints(on.Route, record.ServiceName(on.Session.ID), slices.Items)
	if r.Routers != nil && route.Sticky(on.Route) {
		var probes []*probe.Probe
		for _, router := range r.Routers {
			probes = append(probes, probe.New(on.Route, router))
		}
		wait = Drain(r.Drain, probes, true, endpoints)
	}
	return func(ctx context.Context, late time.Duration) error {
		if err := wait(ctx, late); err != nil {
			return err
		}
		TellCut(ctx, r.Report, func(ctx context.Context, pod string, ports []int32) (int, error) {
			return Connections(ctx, r.Exec, on.Route.Namespace, pod, ports)
		}, endpoints)
		return nil
	}
}

// ramp gives an original that an autoscaler may have shrunk its traffic back in steps, or tells
// that all of it comes at once.
func (r Rollback) ramp(ctx context.Context, on Found) {
	j := on.Session.Journal
	if j == nil || j.State != record.Live || j.Realised == 0 {
		return
	}
	scaler := r.scalerOf(ctx, j.Workload)
	if scaler == nil {
		return
	}
	var why error
	switch {
	case r.Now:
		why = errors.New("--now")
	case !r.Wait:
		why = errors.New("--wait=false")
	default:
		// At most half of the time: the other half is the restore's.
		ctx, cancel := context.WithTimeout(ctx, min(RampTime, r.Timeout/2))
		defer cancel()
		runner := &Runner{Store: r.Store, Clock: r.Clock, Report: r.Report, Options: Options{Request: plan.Request{Namespace: on.Route.Namespace, Route: on.Route.Name}}}
		why = runner.Ramp(ctx, on.Route, on.Session)
	}
	if why != nil {
		r.Report.Warn(reason.New(reason.OriginalMayBeShrunk, "autoscaler", scaler.Name, "workload", j.Workload,
			"pods", scaler.Status.CurrentReplicas, "share", fmt.Sprintf("%.4g %%", j.Realised), "why", why))
	}
}

// scalerOf is an autoscaler of the workload, nil where none is to be seen.
func (r Rollback) scalerOf(ctx context.Context, program string) *autoscalingv2.HorizontalPodAutoscaler {
	ctx, cancel := context.WithTimeout(ctx, courtesyTime)
	defer cancel()
	list, err := r.Core.AutoscalingV2().HorizontalPodAutoscalers(r.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil
	}
	for _, h := range workload.Scaling(list.Items, program) {
		return &h
	}
	return nil
}
