// Package judge decides what the guard does about a session. It is pure: the same facts at the same
// time give the same verdict.
package judge

import (
	"time"

	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/session/record"
)

// Action is what the guard does about a session.
type Action string

// Actions. Each but Nothing is taken only after a live read gave the same verdict.
const (
	Nothing Action = "nothing"
	Hold    Action = "hold"   // traffic back, sandbox stays
	End     Action = "end"    // traffic back, then drain, delete, close
	Finish  Action = "finish" // traffic is back already: delete, close
)

// Limits are the times that the guard goes by.
type Limits struct {
	Grace    time.Duration // unready for so long while others still serve
	Drain    time.Duration // between restoring a Route and deleting its sandbox
	Courtesy time.Duration // that a command which ends its own session gets to finish
	Orphan   time.Duration // without a mark on the Route
}

// slack is added to deadlines: times are the API server's, to a second.
const slack = 2 * time.Second

// Facts are what is known of one session.
type Facts struct {
	Session  *record.Session // what its Route says, nil when the Route says nothing of it
	Label    bool            // the Route has the session's label
	SameUID  bool            // the journal names this very Route
	Ready    int             // servers of the sandbox on the Route's port
	Others   int             // weight of all other backends together
	Cordoned bool            // a node that a pod of the sandbox is on
	Objects  int             // Services and pods of the session
	Drained  time.Time       // when the sandbox that this guard took traffic from is let go, zero: it did not
	// By the guard's own watch; zero: not so.
	UnreadySince, DrainingSince, MarklessSince time.Time
}

// Verdict is what is to be done, or when to look again (0: when something changes).
type Verdict struct {
	Action Action
	Reason reason.Code // labels metrics and, after "DebugSession", is an Event's reason
	Since  time.Time   // the cause, zero where only the watch knows
	Look   time.Duration
}

// Decide gives the verdict.
func Decide(f Facts, l Limits, now time.Time) Verdict {
	if f.Session == nil {
		switch {
		case !f.Drained.IsZero(): // its last mark was the one that somebody pruned
			return after(f.Drained, now, Verdict{Action: Finish, Reason: reason.Unfinished, Since: f.Drained})
		case f.Objects == 0:
			return Verdict{Action: Nothing}
		}
		return after(f.MarklessSince.Add(l.Orphan), now, Verdict{Action: Finish, Reason: reason.Orphaned, Since: f.MarklessSince})
	}
	j := f.Session.Journal
	switch {
	case f.Session.Alone && (j == nil || !f.SameUID):
		return Verdict{Action: Nothing, Reason: reason.NoWayBack}
	case f.Session.Broken != nil && f.Session.Backend && f.Cordoned: // the sandbox is about to go
		return Verdict{Action: End, Reason: reason.NodeDrain}
	case f.Session.Broken != nil && f.Session.Backend && f.Ready > 0:
		// Nobody knows what the Route was: as long as users are served nothing is touched.
		return Verdict{Action: Nothing, Reason: reason.Unreadable}
	case f.Session.Broken != nil:
		return Verdict{Action: End, Reason: reason.Unreadable}
	case j == nil && f.Session.Backend:
		return Verdict{Action: End, Reason: reason.JournalPruned}
	case j == nil && !f.Drained.IsZero():
		return after(f.Drained, now, Verdict{Action: Finish, Reason: reason.Unfinished, Since: f.Drained})
	case j == nil:
		return after(f.DrainingSince.Add(l.Drain+l.Courtesy), now, Verdict{Action: Finish, Reason: reason.Unfinished, Since: f.DrainingSince})
	case !f.SameUID:
		return Verdict{Action: End, Reason: reason.Recreated}
	case !f.Label:
		return Verdict{Action: End, Reason: reason.LabelPruned}
	case !f.Session.Backend:
		return Verdict{Action: End, Reason: reason.BackendGone}
	case f.Cordoned:
		return Verdict{Action: End, Reason: reason.NodeDrain}
	}
	end := j.Expires.Time
	why := reason.Expired
	if j.State == record.Arming {
		end, why = j.ArmBy.Time, reason.Abandoned
	}
	if end.After(now.Add(record.Longest + slack)) {
		return Verdict{Action: End, Reason: reason.TooLong}
	}
	over := after(end.Add(slack), now, Verdict{Action: End, Reason: why, Since: end})
	if over.Action != Nothing || j.State != record.Live || f.Ready > 0 {
		return over
	}
	hold := Verdict{Action: Hold, Reason: reason.Unready, Since: f.UnreadySince}
	if f.Others == 0 {
		return hold // nobody is left who could serve
	}
	if v := after(f.UnreadySince.Add(l.Grace), now, hold); v.Action != Nothing || v.Look < over.Look {
		return v
	}
	return over
}

// after gives the verdict once its time has come, else when to look again.
func after(due, now time.Time, v Verdict) Verdict {
	if wait := due.Sub(now); wait > 0 {
		return Verdict{Action: Nothing, Look: wait}
	}
	return v
}
