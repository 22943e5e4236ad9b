package session

import (
	"context"
	"slices"
	"strings"
	"time"

	routev1 "github.com/openshift/api/route/v1"

	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/route"
	"github.com/osc-debug/osc-debug/pkg/session/record"
	"github.com/osc-debug/osc-debug/pkg/session/store"
)

// A step that conflicts with someone else's write is retried after stepRetry. It is tried at most
// stepTries times.
const (
	stepRetry = time.Second
	stepTries = 5
)

// stepper raises a live session's share step by step.
type stepper struct {
	r         *Runner
	remaining []route.Percent // shares still to come
	due       time.Time
	failures  int // failed tries of the next step, in a row
	// The shares requested before and by the last step. Its write may have succeeded even if it
	// failed.
	previous, attempted route.Percent
}

func newStepper(r *Runner) *stepper {
	s := &stepper{r: r, previous: r.journal.Asked, attempted: r.journal.Asked}
	if len(r.Steps) > 1 {
		s.remaining, s.due = r.Steps[1:], r.Clock.Now().Add(r.Interval)
	}
	return s
}

// untilNext returns how long to wait for the next step; more is false if there is none.
func (s *stepper) untilNext(now time.Time) (d time.Duration, more bool) {
	return max(0, s.due.Sub(now)), len(s.remaining) > 0
}

// takeStep takes the next step once it is due, and verifies it. First it checks the Route as last
// seen, because someone else may have changed the share.
func (s *stepper) takeStep(ctx context.Context, now time.Time) error {
	if len(s.remaining) == 0 || now.Before(s.due) {
		return nil
	}
	r := s.r
	s.due = now.Add(stepRetry)
	on, was := r.liveSession()
	if was == nil {
		return nil // watchLive handles what happened
	}
	if s.stopIfOverridden(was); len(s.remaining) == 0 {
		return nil
	}
	if err := r.checkGuard(ctx); err != nil {
		if ctx.Err() == nil {
			r.Report.Warn(reason.New(reason.StepsStopped, "why", err, "left", joinPercents(s.remaining)))
			s.remaining = nil
		}
		return ctx.Err()
	}
	s.previous, s.attempted = r.journal.Asked, s.remaining[0]
	r.Report.Step(StepShift, shareOfClients(s.attempted))
	if err := r.changeShare(ctx, on, s.attempted); err != nil {
		if s.failures++; s.failures == stepTries || !store.Retriable(err) {
			return err
		}
		r.Report.Note("once more in %s: %v", stepRetry, err)
		return nil
	}
	s.remaining, s.failures = s.remaining[1:], 0
	r.noteShare()
	r.Report.Step(StepVerify, r.stepDetail(StepVerify))
	if err := r.verifyTraffic(ctx); err != nil {
		return err
	}
	s.due = r.Clock.Now().Add(r.Interval)
	return nil
}

// stopIfOverridden drops the remaining steps once someone else has changed the session's share: by
// the weight of its backend or of the primary, or with 'osc-debug weight'. The weights of other
// backends do not count: the next step keeps their ratio.
func (s *stepper) stopIfOverridden(now *record.Session) {
	on, _ := s.r.watcher.currentRoute()
	if len(s.remaining) == 0 || on == nil || now == nil || now.Journal == nil {
		return
	}
	why := s.r.describeOverride(on, now, s.previous, s.attempted)
	if why == "" {
		return
	}
	s.r.Report.Warn(reason.New(reason.StepsStopped, "why", "someone else "+why, "left", joinPercents(s.remaining)))
	s.remaining = nil
}

// describeOverride describes how someone else changed the session's share, "" if no one did. The
// share is still ours if it is the one that this command requested last, or one of possible, which
// it may have written.
func (r *Runner) describeOverride(on *routev1.Route, now *record.Session, possible ...route.Percent) string {
	for _, edit := range record.EditsOf(on, now.Journal) {
		if edit.Service == on.Spec.To.Name || edit.Service == record.ServiceName(now.ID) {
			return edit.Text
		}
	}
	if asked := now.Journal.Asked; asked != r.journal.Asked && !slices.Contains(possible, asked) {
		return "changed the session's share"
	}
	return ""
}

// joinPercents lists shares for a message.
func joinPercents(steps []route.Percent) string {
	var out []string
	for _, p := range steps {
		out = append(out, p.String())
	}
	return strings.Join(out, ", ")
}
