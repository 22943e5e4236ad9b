package judge

import (
	"errors"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/session/record"
)

var (
	t0     = time.Unix(10_000, 0)
	limits = Limits{Grace: 5 * time.Second, Drain: 8 * time.Second, Courtesy: time.Minute, Orphan: 2 * time.Minute, Longest: time.Hour}
)

func at(s int) time.Time { return t0.Add(time.Duration(s) * time.Second) }

// healthy returns the facts of a healthy session in a state. The session ends at second 100.
func healthy(state record.State) Facts {
	j := &record.Journal{State: state, ArmBy: metav1.NewTime(at(100)), Expires: metav1.NewTime(at(100))}
	f := Facts{Session: &record.Session{State: state, Journal: j, Backend: true}, Label: true, SameUID: true, Ready: 1, Others: 10, Objects: 2}
	if state == record.Draining {
		f.Session.Journal, f.Session.Backend = nil, false
	}
	return f
}

func TestJudge(t *testing.T) {
	for _, c := range []struct {
		name   string
		facts  func(*Facts)
		state  record.State
		now    int
		action Action
		reason reason.Code
		after  time.Duration // Verdict.RequeueAfter
	}{
		{"arming in time", nil, record.Arming, 50, Nothing, "", 52 * time.Second},
		{"arming, not ready yet", func(f *Facts) { f.Ready, f.Others = 0, 0 }, record.Arming, 50, Nothing, "", 52 * time.Second},
		{"arming past its time", nil, record.Arming, 103, End, reason.Abandoned, 0},
		{"live", nil, record.Live, 50, Nothing, "", 52 * time.Second},
		{"live at its end, within the clock's slack", nil, record.Live, 101, Nothing, "", time.Second},
		{"live past its end", nil, record.Live, 102, End, reason.Expired, 0},
		{"live for ever, it says", func(f *Facts) { f.Session.Journal.Expires = metav1.NewTime(at(100_000)) }, record.Live, 50, End, reason.TooLong, 0},
		{"arming for ever, it says", func(f *Facts) { f.Session.Journal.ArmBy = metav1.NewTime(at(100_000)) }, record.Arming, 50, End, reason.TooLong, 0},
		{"longer than the administrator allows", func(f *Facts) { f.Session.Journal.Expires = metav1.NewTime(at(3700)) }, record.Live, 50, End, reason.TooLong, 0},
		{"as long as the administrator allows", func(f *Facts) { f.Session.Journal.Expires = metav1.NewTime(at(3650)) }, record.Live, 50, Nothing, "", 3602 * time.Second},
		{"extended again and again, not over yet", func(f *Facts) { f.Created, f.Session.Journal.Expires = at(0), metav1.NewTime(at(5000)) }, record.Live, 4199, Nothing, "", 3 * time.Second},
		{"extended again and again", func(f *Facts) { f.Created, f.Session.Journal.Expires = at(0), metav1.NewTime(at(5000)) }, record.Live, 4202, End, reason.TooLong, 0},
		{"held again and again", func(f *Facts) { f.Created, f.Session.Journal.Expires = at(0), metav1.NewTime(at(5000)) }, record.Held, 4202, End, reason.TooLong, 0},
		{"unready, nobody else serves", func(f *Facts) { f.Ready, f.Others, f.UnreadySince = 0, 0, at(50) }, record.Live, 50, Hold, reason.Unready, 0},
		{"unready, others serve", func(f *Facts) { f.Ready, f.UnreadySince = 0, at(48) }, record.Live, 50, Nothing, "", 3 * time.Second},
		{"unready over the grace", func(f *Facts) { f.Ready, f.UnreadySince = 0, at(44) }, record.Live, 50, Hold, reason.Unready, 0},
		{"unready and expired", func(f *Facts) { f.Ready, f.Others = 0, 0 }, record.Live, 150, End, reason.Expired, 0},
		{"held is not held again", func(f *Facts) { f.Ready, f.Others = 0, 0 }, record.Held, 50, Nothing, "", 52 * time.Second},
		{"held past its end", func(f *Facts) { f.Ready = 0 }, record.Held, 103, End, reason.Expired, 0},
		{"draining, its command may be at work", func(f *Facts) { f.DrainingSince = at(0) }, record.Draining, 60, Nothing, "", 8 * time.Second},
		{"draining for too long", func(f *Facts) { f.DrainingSince = at(0) }, record.Draining, 68, Finish, reason.Unfinished, 0},
		{"draining for too long, routers are late", func(f *Facts) { f.DrainingSince, f.LateUntil = at(0), at(100) }, record.Draining, 68, Nothing, "", 40 * time.Second},
		{"draining, routers were late before", func(f *Facts) { f.DrainingSince, f.LateUntil = at(0), at(30) }, record.Draining, 68, Finish, reason.Unfinished, 0},
		{"draining by this guard", func(f *Facts) { f.DrainingSince, f.DrainEnds = at(0), at(8) }, record.Draining, 5, Nothing, "", 3 * time.Second},
		{"drained by this guard", func(f *Facts) { f.DrainingSince, f.DrainEnds = at(0), at(8) }, record.Draining, 8, Finish, reason.Unfinished, 0},
		{"label pruned", func(f *Facts) { f.Label = false }, record.Live, 50, End, reason.LabelPruned, 0},
		{"annotation pruned", func(f *Facts) { f.Session.Journal, f.Session.State = nil, record.Draining }, record.Live, 50, End, reason.JournalPruned, 0},
		{"backend removed", func(f *Facts) { f.Session.Backend = false }, record.Live, 50, End, reason.BackendGone, 0},
		{"node cordoned", func(f *Facts) { f.Cordoned = true }, record.Live, 50, End, reason.NodeDrain, 0},
		{"node cordoned while held", func(f *Facts) { f.Cordoned = true }, record.Held, 50, End, reason.NodeDrain, 0},
		{"node cordoned, draining already", func(f *Facts) { f.Cordoned, f.DrainingSince = true, at(0) }, record.Draining, 60, Nothing, "", 8 * time.Second},
		{"Route made again", func(f *Facts) { f.SameUID = false }, record.Live, 50, End, reason.Recreated, 0},
		{"unreadable, users are served", func(f *Facts) { f.Session.Broken, f.Session.Journal = errors.New("x"), nil }, record.Live, 500, Nothing, reason.Unreadable, 0},
		{"unreadable, users are served, not too long yet", func(f *Facts) { f.Session.Broken, f.Session.Journal, f.Created = errors.New("x"), nil, at(0) }, record.Live, 4000, Nothing, reason.Unreadable, 200 * time.Second},
		{"unreadable, users are served for too long", func(f *Facts) { f.Session.Broken, f.Session.Journal, f.Created = errors.New("x"), nil, at(0) }, record.Live, 4200, End, reason.TooLong, 0},
		{"unreadable, sandbox dead", func(f *Facts) { f.Session.Broken, f.Session.Journal, f.Ready = errors.New("x"), nil, 0 }, record.Live, 50, End, reason.Unreadable, 0},
		{"unreadable, its node is cordoned", func(f *Facts) { f.Session.Broken, f.Session.Journal, f.Cordoned = errors.New("x"), nil, true }, record.Live, 50, End, reason.NodeDrain, 0},
		{"unreadable, no other backend", func(f *Facts) { f.Session.Broken, f.Session.Journal, f.Session.Alone = errors.New("x"), nil, true }, record.Live, 50, Nothing, reason.NoWayBack, 0},
		{"journal pruned, no other backend", func(f *Facts) {
			f.Session.Journal, f.Session.State, f.Session.Alone, f.Ready = nil, record.Draining, true, 0
		}, record.Live, 50, Nothing, reason.NoWayBack, 0},
		{"another Route's journal, no other backend", func(f *Facts) { f.SameUID, f.Session.Alone = false, true }, record.Live, 50, Nothing, reason.NoWayBack, 0},
		{"no other backend, the journal tells which there was", func(f *Facts) { f.Session.Alone = true }, record.Live, 150, End, reason.Expired, 0},
		{"no mark, no object", func(f *Facts) { f.Session, f.Objects = nil, 0 }, record.Live, 50, Nothing, "", 0},
		{"restored, no mark was left", func(f *Facts) { f.Session, f.DrainEnds = nil, at(8) }, record.Live, 8, Finish, reason.Unfinished, 0},
		{"no mark since a minute", func(f *Facts) { f.Session, f.MarklessSince = nil, at(0) }, record.Live, 60, Nothing, "", time.Minute},
		{"no mark since two minutes, routers are late", func(f *Facts) { f.Session, f.MarklessSince, f.LateUntil = nil, at(0), at(150) }, record.Live, 120, Nothing, "", 30 * time.Second},
		{"no mark since two minutes", func(f *Facts) { f.Session, f.MarklessSince = nil, at(0) }, record.Live, 120, Finish, reason.Orphaned, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := healthy(c.state)
			if c.facts != nil {
				c.facts(&f)
			}
			v := Decide(f, limits, at(c.now))
			if v.Action != c.action || v.Reason != c.reason || v.RequeueAfter != c.after {
				t.Errorf("got %s %q, check again in %s; wanted %s %q, %s", v.Action, v.Reason, v.RequeueAfter, c.action, c.reason, c.after)
			}
		})
	}
}
