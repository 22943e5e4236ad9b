package session

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osc-debug/osc-debug/pkg/kube"
	"github.com/osc-debug/osc-debug/pkg/kube/exec"
	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/route"
	"github.com/osc-debug/osc-debug/pkg/session/plan"
	"github.com/osc-debug/osc-debug/pkg/session/record"
	"github.com/osc-debug/osc-debug/pkg/session/store"
	"github.com/osc-debug/osc-debug/pkg/workload"
)

// Rollback ends sessions of a namespace, whichever command started them.
type Rollback struct {
	store.Store
	Namespace string
	Clock     *kube.Clock
	Report    Report
	Exec      exec.Client   // to count the open connections of a sandbox
	Routers   []string      // addresses to send drain probes to; none: only wait
	Drain     time.Duration // least time between restoring a Route and deleting its sandbox
	Timeout   time.Duration // for everything except the drain
	Wait      bool          // until the sandbox is deleted; otherwise the guard deletes it
	Now       bool          // give all traffic back at once, even to an original that was scaled down
}

// Ended is the outcome of ending a session.
type Ended struct {
	Namespace, Route string
	Session          string // "" if the Route had none
	Foreign          bool   // others had changed the Route
	Kept             string // what was kept of their changes, for a message
	Nothing          bool   // there was no session, and nothing to delete
	Guarded          bool   // the guard deletes the sandbox
}

// One ends the session on a Route. If the Route has none, it deletes what its sessions left.
func (r Rollback) One(ctx context.Context, on Found) (Ended, error) {
	ended := Ended{Namespace: on.Route.Namespace, Route: on.Route.Name}
	if on.Session == nil {
		left, err := r.sweepRoute(ctx, on.Route.Name, string(on.Route.UID))
		ended.Nothing = !left && err == nil
		return ended, err
	}
	ended.Session = on.Session.ID
	if !record.ValidID(on.Session.ID) {
		return ended, reason.New(reason.JournalNamesNoSession, "namespace", on.Route.Namespace, "route", on.Route.Name, "why", on.Session.Broken, "annotation", record.JournalKey)
	}
	r.shiftBackInSteps(ctx, on)
	if !r.Wait {
		ended.Guarded = true
		_, out, err := r.Restore(ctx, on.Route.Namespace, on.Route.Name, on.Session.ID, on.Route)
		ended.Foreign, ended.Kept = out.Foreign, out.String()
		return ended, err
	}
	e := store.Ending{Store: r.Store, Namespace: on.Route.Namespace, Route: on.Route.Name, ID: on.Session.ID, Step: r.Report.Step}
	if on.Session.State != record.Arming {
		e.Drain = r.drainFunc(ctx, on)
	}
	out, err := e.Run(ctx)
	ended.Foreign, ended.Kept = out.Foreign, out.String()
	return ended, err
}

// All ends every session of the namespace, and with Wait deletes what sessions left whose Routes no
// longer have marks. The sessions end concurrently, because each of them drains. begin is called
// for each session first. errs has the error, or nil, of each session in ended, and with Wait one
// more for the deletion. swept is true if there was something left to delete.
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
	if r.Wait { // otherwise the guard deletes it
		swept, err = r.sweepNamespace(ctx, ids)
		errs = append(errs, err)
	}
	return ended, errs, swept
}

// optionalReadTimeout limits reads before the Route is restored that are not essential. The restore
// does not wait longer for them, and does not fail if they fail.
const optionalReadTimeout = 15 * time.Second

// drainFunc returns the drain of the rollback, which also warns of connections that deleting the
// sandbox closes.
func (r Rollback) drainFunc(ctx context.Context, on Found) func(context.Context, time.Duration) error {
	read, cancel := context.WithTimeout(ctx, optionalReadTimeout)
	defer cancel()
	wait := Drain(r.Drain, nil, false, nil)
	slices, err := r.Core.DiscoveryV1().EndpointSlices(on.Route.Namespace).List(read, metav1.ListOptions{})
	if err != nil {
		r.Report.Warn(reason.New(reason.ConnectionsNotChecked, "why", err))
		return wait
	}
	endpoints := route.Endpoints(on.Route, record.ServiceName(on.Session.ID), slices.Items)
	if r.Routers != nil && route.Sticky(on.Route) {
		var everywhere []route.Endpoint // plain requests are answered by any of them
		for _, b := range record.WeightsOf(on.Route).Backends {
			everywhere = append(everywhere, route.Endpoints(on.Route, b.Service, slices.Items)...)
		}
		probes, all := probesThatPin(read, probesOf(on.Route, r.Routers), everywhere)
		wait = Drain(r.Drain, probes, all, endpoints)
	}
	return func(ctx context.Context, late time.Duration) error {
		if err := wait(ctx, late); err != nil {
			return err
		}
		WarnOpenConnections(ctx, r.Report, func(ctx context.Context, pod string, ports []int32) (int, error) {
			return Connections(ctx, r.Exec, on.Route.Namespace, pod, ports)
		}, endpoints)
		return nil
	}
}

// shiftBackInSteps shifts traffic back in steps to an original that an autoscaler may have scaled
// down, or warns that all traffic returns at once.
func (r Rollback) shiftBackInSteps(ctx context.Context, on Found) {
	j := on.Session.Journal
	if j == nil || j.State != record.Live || j.Realised == 0 {
		return
	}
	scaler := r.findAutoscaler(ctx, j.Workload)
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
		// Use at most half of the time. The other half is for the restore.
		ctx, cancel := context.WithTimeout(ctx, min(RampTime, r.Timeout/2))
		defer cancel()
		runner := &Runner{Store: r.Store, Clock: r.Clock, Report: r.Report, Options: Options{Request: plan.Request{Namespace: on.Route.Namespace, Route: on.Route.Name}}}
		why = runner.RampSession(ctx, on.Route, on.Session)
	}
	if why != nil {
		r.Report.Warn(reason.New(reason.OriginalMayBeShrunk, "autoscaler", scaler.Name, "workload", j.Workload,
			"pods", scaler.Status.CurrentReplicas, "share", fmt.Sprintf("%.4g %%", j.Realised), "why", why))
	}
}

// findAutoscaler returns an autoscaler of the workload, nil if none is found.
func (r Rollback) findAutoscaler(ctx context.Context, program string) *autoscalingv2.HorizontalPodAutoscaler {
	ctx, cancel := context.WithTimeout(ctx, optionalReadTimeout)
	defer cancel()
	list, err := r.Core.AutoscalingV2().HorizontalPodAutoscalers(r.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		if !apierrors.IsForbidden(err) {
			r.Report.Note("cannot read whether an autoscaler may have scaled the original down: %v", err)
		}
		return nil
	}
	for _, h := range workload.Scaling(list.Items, program) {
		return &h
	}
	return nil
}
