package shift

import (
	"context"
	"strings"
	"time"

	"github.com/osc-debug/osc-debug/pkg/session"
)

// stepper raises a live session's share step by step.
type stepper struct {
	r    *Runner
	left []float64 // percentages still to come
	due  time.Time
}

func newStepper(r *Runner) *stepper {
	s := &stepper{r: r}
	if len(r.Steps) > 1 {
		s.left, s.due = r.Steps[1:], r.Clock.Now().Add(r.Interval)
	}
	return s
}

// wait is how long until the next step; more is false where none is to come.
func (s *stepper) wait(now time.Time) (d time.Duration, more bool) {
	return max(0, s.due.Sub(now)), len(s.left) > 0
}

// step takes the next step once it is due, and sees that users are answered after it.
func (s *stepper) step(ctx context.Context, now time.Time) error {
	if len(s.left) == 0 || now.Before(s.due) {
		return nil
	}
	r := s.r
	on, seen := r.watcher.currentRoute()
	if !seen || on == nil {
		return nil
	}
	was := session.Of(on)
	if s.look(was); len(s.left) == 0 || was == nil || was.Journal == nil {
		return nil
	}
	r.current, r.Percent = on, s.left[0]
	s.left = s.left[1:]
	r.Report.Step(StepShift, r.detail(StepShift))
	r.journal.Asked = r.Percent
	originals, _ := session.Originals(on, was.Journal)
	if err := r.reweigh(ctx, r.Percent, originals, r.watcher.endpointSlices()); err != nil {
		return err
	}
	r.Report.Note("asked %g %%, realised %.2f %% by the router's arithmetic", r.Percent, r.journal.Realised)
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
func (s *stepper) look(now *session.Session) {
	on, seen := s.r.watcher.currentRoute()
	if len(s.left) == 0 || now == nil || now.Journal == nil || !seen || on == nil {
		return
	}
	why := ""
	if now.Journal.Asked != s.r.journal.Asked {
		why = "gave the session another share"
	}
	for _, service := range []string{on.Spec.To.Name, session.ServiceName(now.ID)} {
		if text := session.ChangedWeight(on, now.Journal, service); text != "" {
			why = text
		}
	}
	if why == "" {
		return
	}
	s.r.Report.Warn("somebody %s: no more steps are taken (left: %s)", why, percentages(s.left))
	s.left = nil
}

func percentages(steps []float64) string {
	var out []string
	for _, p := range steps {
		out = append(out, formatPercent(p))
	}
	return strings.Join(out, ", ")
}
