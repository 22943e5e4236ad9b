// Package session runs debugging sessions: it takes the steps forward one after the other and,
// whatever happens, the steps back. Each step is reported before it begins. A session that is
// killed at any moment leaves on its Route everything that ending it needs.
package session

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	routev1 "github.com/openshift/api/route/v1"

	"github.com/osc-debug/osc-debug/pkg/guard/standby"
	"github.com/osc-debug/osc-debug/pkg/kube"
	"github.com/osc-debug/osc-debug/pkg/preflight"
	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/route"
	"github.com/osc-debug/osc-debug/pkg/session/plan"
	"github.com/osc-debug/osc-debug/pkg/session/record"
	"github.com/osc-debug/osc-debug/pkg/session/store"
	"github.com/osc-debug/osc-debug/pkg/settings"
)

// Forward steps, in order. Package store has those of the rollback.
const (
	StepPreflight = "preflight"
	StepArm       = "arm"
	StepBuild     = "build"
	StepProve     = "prove"
	StepShift     = "shift"
	StepVerify    = "verify"
	StepLive      = "live"
)

// Steps returns the names of all steps of a session, forward and back.
func Steps() []string {
	return []string{
		StepPreflight, StepArm, StepBuild, StepProve, StepShift, StepVerify, StepLive,
		store.StepRestore, store.StepDrain, store.StepDelete, store.StepClose,
	}
}

// armMargin is how long preparing a session may take, in addition to the timeout for pods and the
// proof, before the session counts as abandoned. It covers the guard's Lease and slow responses.
const armMargin = 30 * time.Second

// Options are the user's settings for a session. The session does not change them.
type Options struct {
	plan.Request
	Interval       time.Duration // between steps
	FollowRollout  bool          // end the session if the original is rolled out
	MaxDuration    time.Duration // the administrator's limit for sessions; 0: none
	For            time.Duration // time that the session is live; 0: until the context ends
	Drain          time.Duration // least time between restoring the Route and deleting the sandbox
	Timeout        time.Duration // for the pods to become ready
	Guarded        bool          // require a running guard, which ends the session if this process does not
	ReloadInterval time.Duration // of the router
}

// Report receives the progress of a session.
type Report interface {
	// Step reports that a step begins.
	Step(name, detail string)
	// Note reports progress within a step.
	Note(format string, args ...any)
	// Warn reports a problem that does not end the session. Most such errors have a reason.
	Warn(err error)
}

// Runner runs one session.
type Runner struct {
	store.Store
	Options
	Clock  *kube.Clock
	Trust  *settings.Trust // whether namespace osc-debug is trusted; nil: read it each time
	Report Report
	// BeforeUsers is called when the sandbox is ready, before any user is moved; nil: nothing is. Its error ends the
	// session, or with Force is a warning.
	BeforeUsers func(ctx context.Context, t Target) error
	// OnLive is called once traffic has been shifted. It must return when its context ends; the
	// rollback does not wait for it. An error is reported, but does not end the session.
	OnLive func(ctx context.Context, t Target) error
	// BeforeDelete is called when the Route is restored and drained, before the sandbox is deleted; nil: nothing is. An
	// error is reported.
	BeforeDelete func(ctx context.Context, t Target) error
	// Connections counts the open TCP connections to ports of a sandbox pod; nil: they are not
	// counted.
	Connections func(ctx context.Context, pod string, ports []int32) (int, error)

	plan         *plan.Plan // nil for a session that another command started
	journal      *record.Journal
	current      *routev1.Route
	routerProbes []routerProbe
	watcher      *watcher
	guard        *standby.Guard
	buildStarted time.Time     // before the first pod was created, by the API server's clock
	armed        bool          // our marks are, or may be, on the Route
	shifted      bool          // users may have been sent to the sandbox
	onLiveDone   chan struct{} // closed when OnLive has returned; nil if the session was not live
}

// Target is what can be traced in a live session.
type Target struct {
	Session, Namespace string
	Pods               map[string]string // the runtime's ID of Container, by pod name
	Container          string
}

// Result is the outcome of a session.
type Result struct {
	Session  string
	Live     bool   // the session became live
	Foreign  bool   // others had changed the Route
	Kept     string // what was kept of their changes, for a message
	Expired  bool   // the TTL ended the session
	Held     bool   // the sandbox failed; it is kept without traffic until Expires
	Detached bool   // the session continues without this process
	Unended  bool   // the rollback failed
	Expires  time.Time
}

// ErrInterrupted is the error of a session whose context ended before it was live.
var ErrInterrupted = errors.New("interrupted")

type step struct {
	name   string
	detail string
	run    func(context.Context) error
}

// Run runs the session until For is over, the context ends or something fails, and then rolls it
// back. The rollback uses the context that ending returns, because ctx may have ended. The error is
// why the session failed, joined with that of a failed rollback.
func (r *Runner) Run(ctx context.Context, ending func() (context.Context, context.CancelFunc)) (Result, error) {
	forward := []step{
		{StepPreflight, "route " + r.Namespace + "/" + r.Options.Route, r.Preflight},
		{StepArm, "", r.armRoute},
		{StepBuild, "", r.buildSandbox},
		{StepProve, "", r.proveSandbox},
		{StepShift, "", r.shiftTraffic},
		{StepVerify, "", r.verifyTraffic},
		{StepLive, "", r.stayLive},
	}
	var result Result
	var failed error
	defer r.waitForOnLive()
	for _, s := range forward {
		if ctx.Err() != nil {
			failed = ErrInterrupted
			break
		}
		detail := s.detail
		if detail == "" {
			detail = r.stepDetail(s.name)
		}
		r.Report.Step(s.name, detail)
		if s.name == StepLive {
			result.Live = true
		}
		if failed = s.run(ctx); failed != nil {
			break
		}
	}
	if r.watcher != nil {
		defer r.watcher.stop()
	}
	if r.journal != nil {
		result.Session, result.Expires = r.journal.Session, r.journal.Expires.Time
	}
	if ctx.Err() != nil {
		failed = ErrInterrupted
	}
	if result.Live && errors.Is(failed, ErrInterrupted) {
		failed = nil // Ctrl-C is the normal end of a live session
	}
	var expired *Expired
	result.Expired = errors.As(failed, &expired)
	if !r.armed {
		return result, failed
	}
	if result.Live && r.Detach && failed == nil && ctx.Err() == nil {
		result.Detached = true
		return result, nil
	}
	endContext, cancel := ending()
	defer cancel()
	var unready *Unready
	if r.Guarded && errors.As(failed, &unready) {
		if err := r.holdSession(endContext); err == nil {
			result.Held = true
			return result, failed
		}
	}
	outcome, err := r.endSession(endContext, failed)
	result.Foreign, result.Kept = outcome.Foreign, outcome.String()
	if err != nil {
		result.Unended = true
		return result, errors.Join(failed, err)
	}
	return result, failed
}

// stepDetail returns what to report of a step that begins.
func (r *Runner) stepDetail(name string) string {
	switch name {
	case StepArm:
		return fmt.Sprintf("session %s, its backend at weight 0", r.journal.Session)
	case StepBuild:
		return fmt.Sprintf("%d pod(s) cloned from %s, RuntimeClass %s", r.plan.Input.Replicas, r.plan.Input.Program, r.plan.Input.RuntimeClass)
	case StepProve:
		return "check that the router reaches the sandbox before any user does"
	case StepShift:
		return shareOfClients(r.journal.Asked)
	case StepVerify:
		return "check that users get answers"
	case StepLive:
		if r.Detach {
			return "left to the guard"
		}
		ends := "until Ctrl-C, "
		if r.For > 0 {
			ends = fmt.Sprintf("for %s or until Ctrl-C, ", r.For)
		}
		return ends + r.journal.Expires.UTC().Format("15:04:05 MST") + " at the latest"
	}
	return ""
}

// shareOfClients describes a share for a message.
func shareOfClients(p route.Percent) string { return p.String() + " of new clients" }

// Preflight reads the cluster and refuses what cannot work, before anything is changed: first by
// what was read, then by a server-side dry run of every object and of the Route's patch.
func (r *Runner) Preflight(ctx context.Context) error {
	facts, err := preflight.Gather(ctx, r.Core, r.Routes, r.Namespace, r.Options.Route)
	if err != nil {
		return err
	}
	facts.Now = r.Clock.Now()
	if err := r.judgeFacts(facts); err != nil {
		return err
	}
	if err := r.findGuard(ctx); err != nil {
		return err
	}
	if err := r.makePlan(ctx, facts); err != nil {
		return err
	}
	if _, err := r.dryRun(ctx); err != nil {
		return err
	}
	if r.NoProbe {
		return nil
	}
	return r.takeBaselines(ctx, facts.Route, facts.Namespace.Slices)
}

// beforeUsersTime is how long BeforeUsers may take.
func (r *Runner) beforeUsersTime() time.Duration {
	if r.BeforeUsers == nil {
		return 0
	}
	return max(90*time.Second, r.Timeout/2)
}

// makePlan plans the session and reports the plan's notes and warnings.
func (r *Runner) makePlan(ctx context.Context, facts *preflight.Facts) error {
	guard := plan.NoGuard
	if r.guard != nil {
		guard = plan.Guard{Nodes: r.guard.Nodes, Shape: r.guard.Shape}
	}
	p, err := plan.Make(facts, r.Request, guard, r.Timeout+r.proofTimeout()+r.baselineWait()+r.beforeUsersTime()+armMargin)
	if err != nil {
		return err
	}
	for _, note := range p.Notes {
		r.Report.Note("%s", note)
	}
	if facts.Namespace.NoLeases {
		r.Report.Note("not checked whether a pod of the original holds a Lease: you cannot list Leases")
	}
	for _, w := range p.Warnings {
		r.Report.Warn(w)
	}
	journal := p.Journal
	if !r.NoProbe && len(route.Hosts(facts.Route, "")) == 0 {
		return reason.New(reason.RouteHasNoHost, "namespace", r.Namespace, "route", r.Options.Route)
	}
	r.plan, r.journal, r.current = p, &journal, facts.Route
	return r.checkDrift(ctx)
}

// checkDrift warns of ConfigMaps and Secrets that were changed since the original started, and refuses a session
// if one is gone.
func (r *Runner) checkDrift(ctx context.Context) error {
	warnings, unchecked, err := preflight.Drift(ctx, r.Core, r.Namespace, r.plan.Input.Program, &r.plan.Pods[0].Spec, r.plan.Input.ServingSecretName())
	for _, w := range warnings {
		r.Report.Warn(w)
	}
	if len(unchecked) > 0 {
		r.Report.Note("not checked whether changed since the original started: %s", strings.Join(unchecked, ", "))
	}
	return err
}

// judgeFacts refuses a session by what was read, and warns of what --force allows.
func (r *Runner) judgeFacts(facts *preflight.Facts) error {
	warnings, err := preflight.Judge(facts, r.Force)
	for _, w := range warnings {
		r.Report.Warn(&reason.Forced{Refused: w})
	}
	return err
}

// armRoute marks the Route (patch 1).
func (r *Runner) armRoute(ctx context.Context) error {
	r.armed = true
	updated, err := r.Arm(ctx, r.current, r.journal)
	var other *record.InSession
	if errors.As(err, &other) {
		r.armed = false // another session was faster; none of our marks are on the Route
	}
	if err != nil {
		return err
	}
	r.current = updated
	return nil
}

// shiftTraffic sends the requested share of new clients to the sandbox.
func (r *Runner) shiftTraffic(ctx context.Context) error {
	if r.BeforeUsers != nil {
		limit := r.beforeUsersTime()
		limited, cancel := context.WithTimeoutCause(ctx, limit, &Timeout{"check before users are moved", limit})
		err := r.BeforeUsers(limited, r.target())
		cancel()
		switch {
		case err != nil && ctx.Err() == nil && r.Force:
			r.Report.Warn(&reason.Forced{Refused: err})
		case err != nil:
			return err
		}
	}
	if err := r.waitForRenewal(ctx); err != nil {
		return err
	}
	if !r.canProve() && r.Percent > smallestPercent {
		if err := r.runCanary(ctx, r.watcher.endpointSlices()); err != nil {
			return err
		}
	}
	if err := r.setWeights(ctx, r.Percent); err != nil {
		return err
	}
	r.noteShare()
	if route.Sticky(r.current) && r.Percent < 100 {
		r.Report.Note("clients that already have the router's cookie stay on their backend")
	}
	r.writeEvent(ctx, "DebugSessionLive", fmt.Sprintf("session %s of %s is live: %.2f %% of new clients go to a sandbox of %s",
		r.journal.Session, r.journal.User, r.journal.Realised, r.plan.Input.Program))
	return nil
}

// noteShare reports the requested share and the one that the weights give.
func (r *Runner) noteShare() {
	r.Report.Note("asked %g %%, realised %.2f %% by the router's arithmetic", r.journal.Asked, r.journal.Realised)
}

// writeEvent writes an Event on the Route. A failure is only a warning.
func (r *Runner) writeEvent(ctx context.Context, why, note string) {
	if err := r.Event(ctx, r.Namespace, r.Options.Route, string(r.current.UID), why, note); err != nil && ctx.Err() == nil {
		r.Report.Warn(reason.New(reason.EventNotWritten, "why", err))
	}
}
