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

// A step that somebody else's write came before is tried again after stepRetry, at most
// stepTries times in a row.
const (
	stepRetry = time.Second
	stepTries = 5
)

// stepper raises a live session's share step by step.
type stepper struct {
	r    *Runner
	left []route.Percent // percentages still to come
	due  time.Time
	try  int // failed tries of the next step
	// Asked before the last step, and with the one under way, whose write may have happened.
	was, tried route.Percent
}

func newStepper(r *Runner) *stepper {
	s := &stepper{r: r, was: r.journal.Asked, tried: r.journal.Asked}
	if len(r.Steps) > 1 {
		s.left, s.due = r.Steps[1:], r.Clock.Now().Add(r.Interval)
	}
	return s
}

// wait is how long until the next step; more is false where none is to come.
func (s *stepper) wait(now time.Time) (d time.Duration, more bool) {
	return max(0, s.due.Sub(now)), len(s.left) > 0
}

// step takes the next step once it is due, and sees that users are answered after it. A
// Route that somebody else wrote meanwhile is looked at again first.
func (s *stepper) step(ctx context.Context, now time.Time) error {
	if len(s.left) == 0 || now.Before(s.due) {
		return nil
	}
	r := s.r
	s.due = now.Add(stepRetry)
	on, _ := r.watcher.currentRoute()
	was := sessionOf(on)
	if was == nil || was.Journal == nil || was.State != record.Live {
		return nil // what happened is the session's affair, not the step's
	}
	if s.look(was); len(s.left) == 0 {
		return nil
	}
	if err := r.guardStands(ctx); err != nil {
		if ctx.Err() == nil {
			r.Report.Warn(reason.New(reason.StepsStopped, "why", err, "left", percentages(s.left)))
			s.left = nil
		}
		return ctx.Err()
	}
	s.was, s.tried = r.journal.Asked, s.left[0]
	r.current, r.journal.Asked = on, s.tried
	r.Report.Step(StepShift, r.detail(StepShift))
	once := r.Store
	once.Once = true
	if err := r.reweigh(ctx, once, s.tried, r.watcher.endpointSlices()); err != nil {
		r.journal.Asked = s.was
		if s.try++; s.try == stepTries || !store.Retriable(err) {
			return err
		}
		r.Report.Note("once more in %s: %v", stepRetry, err)
		return nil
	}
	s.left, s.try = s.left[1:], 0
	r.noteShare()
	r.Report.Step(StepVerify, r.detail(StepVerify))
	if err := r.verify(ctx); err != nil {
		return err
	}
	s.due = r.Clock.Now().Add(r.Interval)
	return nil
}

// look stops stepping once somebody else gave the session a share: by a weight of its
// backend or of the primary, or with 'osc-debug weight'. Others' alternate backends are
// no matter of the session's share: they keep their ratio in the next step.
func (s *stepper) look(now *record.Session) {
	on, _ := s.r.watcher.currentRoute()
	if len(s.left) == 0 || on == nil || now == nil || now.Journal == nil {
		return
	}
	why := s.r.outbid(on, now, s.was, s.tried)
	if why == "" {
		return
	}
	s.r.Report.Warn(reason.New(reason.StepsStopped, "why", "somebody "+why, "left", percentages(s.left)))
	s.left = nil
}

// outbid tells of a share that somebody else gave the session: another than this command
// asked for last, or than one of those that it may have written.
func (r *Runner) outbid(on *routev1.Route, now *record.Session, mayBe ...route.Percent) string {
	for _, service := range []string{on.Spec.To.Name, record.ServiceName(now.ID)} {
		if text := record.ChangedWeight(on, now.Journal, service); text != "" {
			return text
		}
	}
	if asked := now.Journal.Asked; asked != r.journal.Asked && !slices.Contains(mayBe, asked) {
		return "gave the session another share"
	}
	return ""
}

func percentages(steps []route.Percent) string {
	var out []string
	for _, p := range steps {
		out = append(out, p.String())
	}
	return strings.Join(out, ", ")
}
