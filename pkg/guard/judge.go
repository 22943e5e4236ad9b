package guard

import (
	"time"

	"github.com/osc-debug/osc-debug/pkg/session"
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

// Reason is why; it labels metrics and stands in Events.
type Reason string

// Reasons.
const (
	Abandoned     Reason = "abandoned"      // still arming past its time
	ExpiredReason Reason = "expired"        // past its end
	Unready       Reason = "unready"        // no sandbox server is ready
	LabelPruned   Reason = "label-pruned"   // somebody removed our label
	JournalPruned Reason = "journal-pruned" // somebody removed our annotation
	BackendGone   Reason = "backend-gone"   // somebody removed our backend
	Recreated     Reason = "recreated"      // the Route was deleted and made again, marks and all
	Unreadable    Reason = "unreadable"     // the journal can't be read
	Unfinished    Reason = "unfinished"     // its ending was interrupted
	Orphaned      Reason = "orphaned"       // sandbox objects without a mark on their Route
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
	Session  *session.Session // what its Route says, nil when the Route says nothing of it
	Label    bool             // the Route has the session's label
	SameUID  bool             // the journal names this very Route
	Ready    int              // servers of the sandbox on the Route's port
	Others   int              // weight of all other backends together
	Objects  int              // Services and pods of the session
	Restored time.Time        // when this guard restored the Route, zero: it did not
	// By the guard's own watch; zero: not so.
	UnreadySince, DrainingSince, MarklessSince time.Time
}

// Verdict is what is to be done, or when to look again (0: when something changes).
type Verdict struct {
	Action Action
	Reason Reason
	Since  time.Time // the cause, zero where only the watch knows
	Look   time.Duration
}

// Judge decides. It is pure: the same facts at the same time give the same verdict.
func Judge(f Facts, l Limits, now time.Time) Verdict {
	if f.Session == nil {
		switch {
		case !f.Restored.IsZero(): // its last mark was the one that somebody pruned
			return after(f.Restored.Add(l.Drain), now, Verdict{Action: Finish, Reason: Unfinished, Since: f.Restored})
		case f.Objects == 0:
			return Verdict{Action: Nothing}
		}
		return after(f.MarklessSince.Add(l.Orphan), now, Verdict{Action: Finish, Reason: Orphaned, Since: f.MarklessSince})
	}
	j := f.Session.Journal
	switch {
	case f.Session.Broken != nil:
		// Nobody knows what the Route was: as long as users are served nothing is touched.
		if f.Session.Backend && f.Ready > 0 {
			return Verdict{Action: Nothing, Reason: Unreadable}
		}
		return Verdict{Action: End, Reason: Unreadable}
	case j == nil && f.Session.Backend:
		return Verdict{Action: End, Reason: JournalPruned}
	case j == nil && !f.Restored.IsZero():
		return after(f.Restored.Add(l.Drain), now, Verdict{Action: Finish, Reason: Unfinished, Since: f.Restored})
	case j == nil:
		return after(f.DrainingSince.Add(l.Drain+l.Courtesy), now, Verdict{Action: Finish, Reason: Unfinished, Since: f.DrainingSince})
	case !f.SameUID:
		return Verdict{Action: End, Reason: Recreated}
	case !f.Label:
		return Verdict{Action: End, Reason: LabelPruned}
	case !f.Session.Backend:
		return Verdict{Action: End, Reason: BackendGone}
	}
	end := j.Expires.Time
	reason := ExpiredReason
	if j.State == session.Arming {
		end, reason = j.ArmBy.Time, Abandoned
	}
	over := after(end.Add(slack), now, Verdict{Action: End, Reason: reason, Since: end})
	if over.Action != Nothing || j.State != session.Live || f.Ready > 0 {
		return over
	}
	hold := Verdict{Action: Hold, Reason: Unready, Since: f.UnreadySince}
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
