// Package session holds a session: it takes the steps forward, one after the other, and
// whatever happens the steps back. Each step is announced before it begins. A session
// that is killed at any instant leaves on the Route all that ending it needs.
package session

import (
	"context"
	"errors"
	"fmt"
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
)

// Steps of the way there, in order. store.Ending has those of the way back.
const (
	StepPreflight = "preflight"
	StepArm       = "arm"
	StepBuild     = "build"
	StepProve     = "prove"
	StepShift     = "shift"
	StepVerify    = "verify"
	StepLive      = "live"
)

// Steps lists every step of a session, there and back.
func Steps() []string {
	return []string{
		StepPreflight, StepArm, StepBuild, StepProve, StepShift, StepVerify, StepLive,
		store.StepRestore, store.StepDrain, store.StepDelete, store.StepClose,
	}
}

// armTime is how long preparing a session may take before it counts as abandoned,
// beyond the caller's own timeout and the proof: the guard's Lease, and slow answers.
const armTime = 30 * time.Second

// Options are what the user asks for. A session changes none of them.
type Options struct {
	plan.Request
	Interval       time.Duration // between steps
	FollowRollout  bool          // end the session when the original is rolled out
	For            time.Duration // 0: until the context ends
	Drain          time.Duration
	Timeout        time.Duration // for pods to become ready and be proven
	Guarded        bool          // a guard must stand by; it ends what this process leaves
	ReloadInterval time.Duration // of the router
}

// Report is where a session tells what it does.
type Report interface {
	Step(name, detail string)
	Note(format string, args ...any) // progress within a step
	// Warn tells of what goes on all the same: an error that has a reason, or any other.
	Warn(err error)
}

// Runner holds one session.
type Runner struct {
	store.Store
	Options
	Clock  *kube.Clock
	Report Report
	// OnLive is called when traffic has been shifted; it returns when its context ends, beside
	// the way back. An error is told, and ends nothing.
	OnLive func(ctx context.Context, t Target) error
	// Connections counts the open connections to ports of a sandbox pod; nil: not asked.
	Connections func(ctx context.Context, pod string, ports []int32) (int, error)

	plan    *plan.Plan // nil for a session that another command began
	journal *record.Journal
	current *routev1.Route
	fronts  []front
	watcher *watcher
	guard   *standby.Guard
	built   time.Time     // before the first pod was made, by the API server's clock
	armed   bool          // the Route has, or may have, our marks
	shifted bool          // users may have been sent to the sandbox
	worked  chan struct{} // closed when OnLive has returned; nil: it was not called
}

// Target is what there is to be traced.
type Target struct {
	Session, Namespace string
	Pods               map[string]string // the runtime's ID of Container, by pod
	Container          string
}

// Result is how a session went.
type Result struct {
	Session  string
	Live     bool // it got as far as traffic in the sandbox
	Foreign  bool // somebody else had changed the Route; his change stayed
	Expired  bool // the TTL ended it
	Held     bool // the sandbox failed; it stays until Expires, without traffic
	Detached bool // it goes on without this process
	Unended  bool // taking the way back failed
	Expires  time.Time
}

// ErrInterrupted is why a session ended before it was live: its context did.
var ErrInterrupted = errors.New("interrupted")

type step struct {
	name   string
	detail string
	run    func(context.Context) error
}

// Run holds the session until For is over, the context ends, or something is wrong,
// and then ends it. Ending has its own time: the context given by ending.
func (r *Runner) Run(ctx context.Context, ending func() (context.Context, context.CancelFunc)) (Result, error) {
	forward := []step{
		{StepPreflight, "route " + r.Namespace + "/" + r.Options.Route, r.Preflight},
		{StepArm, "", r.arm},
		{StepBuild, "", r.build},
		{StepProve, "", r.prove},
		{StepShift, "", r.shift},
		{StepVerify, "", r.verify},
		{StepLive, "", r.live},
	}
	var result Result
	var failed error
	defer r.waitWork()
	for _, s := range forward {
		if ctx.Err() != nil {
			failed = ErrInterrupted
			break
		}
		detail := s.detail
		if detail == "" {
			detail = r.detail(s.name)
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
		if err := r.hold(endContext); err == nil {
			result.Held = true
			return result, failed
		}
	}
	outcome, err := r.end(endContext, failed)
	result.Foreign = outcome.Foreign
	if err != nil {
		result.Unended = true
		return result, errors.Join(failed, err)
	}
	return result, failed
}

func (r *Runner) detail(name string) string {
	switch name {
	case StepArm:
		return fmt.Sprintf("session %s, its backend at weight 0", r.journal.Session)
	case StepBuild:
		return fmt.Sprintf("%d pod(s) like %s under runtime class %s", r.plan.Input.Replicas, r.plan.Input.Program, r.plan.Input.RuntimeClass)
	case StepProve:
		return "the router reaches the sandbox while no user does"
	case StepShift:
		return r.journal.Asked.String() + " of new clients"
	case StepVerify:
		return "users are answered"
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

// Preflight reads the cluster and refuses what can't be done, before anything is
// changed: first by what was read, then by the API server's own judgement of every
// object and of the Route's patch.
func (r *Runner) Preflight(ctx context.Context) error {
	facts, err := preflight.Gather(ctx, r.Core, r.Routes, r.Namespace, r.Options.Route)
	if err != nil {
		return err
	}
	facts.Now = r.Clock.Now()
	if err := r.judge(facts); err != nil {
		return err
	}
	if err := r.findGuard(ctx); err != nil {
		return err
	}
	if err := r.makePlan(facts); err != nil {
		return err
	}
	if _, err := r.dryRun(ctx); err != nil {
		return err
	}
	if r.NoProbe {
		return nil
	}
	return r.takeBaselines(ctx, facts.Route)
}

// makePlan plans the session and tells what the user should know of it.
func (r *Runner) makePlan(facts *preflight.Facts) error {
	p, err := plan.Make(facts, r.Request, r.guard != nil && r.guard.Nodes, r.Timeout+r.proveWithin()+r.baselineWait()+armTime)
	if err != nil {
		return err
	}
	for _, note := range p.Notes {
		r.Report.Note("%s", note)
	}
	for _, w := range p.Warnings {
		r.Report.Warn(w)
	}
	journal := p.Journal
	r.plan, r.journal, r.current = p, &journal, facts.Route
	return nil
}

// judge refuses by what was read.
func (r *Runner) judge(facts *preflight.Facts) error {
	warnings, err := preflight.Judge(facts, r.Force)
	for _, w := range warnings {
		r.Report.Warn(&reason.Forced{Refused: w})
	}
	return err
}

// arm writes the first patch.
func (r *Runner) arm(ctx context.Context) error {
	r.armed = true
	updated, err := r.Arm(ctx, r.current, r.journal)
	var other *record.InSession
	if errors.As(err, &other) {
		r.armed = false // somebody was faster; nothing of ours is there
	}
	if err != nil {
		return err
	}
	r.current = updated
	return nil
}

// shift sends the wanted share to the sandbox.
func (r *Runner) shift(ctx context.Context) error {
	if err := r.guardRenews(ctx); err != nil {
		return err
	}
	if !r.provable() && r.Percent > smallestPercent {
		if err := r.canary(ctx, r.watcher.endpointSlices()); err != nil {
			return err
		}
	}
	if err := r.setWeights(ctx, r.Percent); err != nil {
		return err
	}
	r.noteShare()
	if route.Sticky(r.current) && r.Percent < 100 {
		r.Report.Note("clients with the router's cookie stay where they are until it goes")
	}
	r.event(ctx, "DebugSessionLive", fmt.Sprintf("session %s of %s: %.2f %% of new clients go to a sandbox of %s",
		r.journal.Session, r.journal.User, r.journal.Realised, r.plan.Input.Program))
	return nil
}

// noteShare says what was asked and what comes of it.
func (r *Runner) noteShare() {
	r.Report.Note("asked %g %%, realised %.2f %% by the router's arithmetic", r.journal.Asked, r.journal.Realised)
}

func (r *Runner) event(ctx context.Context, why, note string) {
	if err := r.Event(ctx, r.Namespace, r.Options.Route, string(r.current.UID), why, note); err != nil && ctx.Err() == nil {
		r.Report.Warn(reason.New(reason.EventNotWritten, "why", err))
	}
}
