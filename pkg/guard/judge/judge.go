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

// Actions. The guard takes an action only after a live read gave the same verdict.
const (
	Nothing Action = "nothing"
	Hold    Action = "hold"   // move traffic back, keep the sandbox
	End     Action = "end"    // move traffic back; then drain, delete, close
	Finish  Action = "finish" // traffic is back already: delete, close
)

// Limits are the durations that the guard applies.
type Limits struct {
	Grace    time.Duration // how long a sandbox may be unready while other backends serve
	Drain    time.Duration // between restoring a Route and deleting its sandbox
	Courtesy time.Duration // extra time in which a command can finish ending its own session
	Orphan   time.Duration // how long a sandbox without a mark on its Route is kept
	Longest  time.Duration // how long a session may last
}

// slack is added to deadlines, because the API server's time is known only to a second.
const slack = 2 * time.Second

// Facts describe one session.
type Facts struct {
	Session   *record.Session // from the marks on the Route; nil: the Route has none
	Label     bool            // the Route has the session's label
	SameUID   bool            // the journal contains the Route's UID
	Ready     int             // number of ready sandbox endpoints on the Route's port
	Others    int             // total weight of all other backends
	Cordoned  bool            // a node that runs a sandbox pod is cordoned
	Objects   int             // number of Services and pods of the session
	Created   time.Time       // when the first of them was created; zero if there are none
	DrainEnds time.Time       // end of the drain after this guard restored the Route; zero: it did not
	LateUntil time.Time       // until when routers may use old Routes after an outage; past or zero: they do not

	// Since when the guard has observed each condition; zero: the condition does not hold.
	UnreadySince, DrainingSince, MarklessSince time.Time
}

// Verdict is what the guard has to do, or when to check again.
type Verdict struct {
	Action       Action
	Reason       reason.Code   // also a label of metrics and, after "DebugSession", the reason of an Event
	Since        time.Time     // time of the cause; zero: only the watch event shows it
	RequeueAfter time.Duration // when to check again; 0: at the next change
}

// Decide returns the verdict on a session at time now.
func Decide(f Facts, l Limits, now time.Time) Verdict {
	if f.Session == nil {
		switch {
		case !f.DrainEnds.IsZero(): // the only mark left after the restore was removed by someone else
			return onceDue(f.DrainEnds, now, Verdict{Action: Finish, Reason: reason.Unfinished, Since: f.DrainEnds})
		case f.Objects == 0:
			return Verdict{Action: Nothing}
		}
		return onceDue(later(f.MarklessSince.Add(l.Orphan), f.LateUntil), now, Verdict{Action: Finish, Reason: reason.Orphaned, Since: f.MarklessSince})
	}
	j := f.Session.Journal
	switch {
	case f.Session.Alone && (j == nil || !f.SameUID):
		return Verdict{Action: Nothing, Reason: reason.NoWayBack}
	case f.Session.Broken != nil && f.Session.Backend && f.Cordoned: // the sandbox will be evicted soon
		return Verdict{Action: End, Reason: reason.NodeDrain}
	case f.Session.Broken != nil && f.Session.Backend && f.Ready > 0 && !f.Created.IsZero() && !now.Before(f.Created.Add(record.Preparation+l.Longest)):
		return Verdict{Action: End, Reason: reason.TooLong} // nobody knows its end, but it cannot be later
	case f.Session.Broken != nil && f.Session.Backend && f.Ready > 0:
		// The Route's original state is unknown: change nothing while users are served.
		wait := time.Duration(0)
		if !f.Created.IsZero() {
			wait = f.Created.Add(record.Preparation + l.Longest).Sub(now)
		}
		return Verdict{Action: Nothing, Reason: reason.Unreadable, RequeueAfter: wait}
	case f.Session.Broken != nil:
		return Verdict{Action: End, Reason: reason.Unreadable}
	case j == nil && f.Session.Backend:
		return Verdict{Action: End, Reason: reason.JournalPruned}
	case j == nil && !f.DrainEnds.IsZero():
		return onceDue(f.DrainEnds, now, Verdict{Action: Finish, Reason: reason.Unfinished, Since: f.DrainEnds})
	case j == nil:
		return onceDue(later(f.DrainingSince.Add(l.Drain+l.Courtesy), f.LateUntil.Add(l.Drain)), now, Verdict{Action: Finish, Reason: reason.Unfinished, Since: f.DrainingSince})
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
	if end.After(now.Add(l.Longest + slack)) {
		return Verdict{Action: End, Reason: reason.TooLong}
	}
	// A user who can write the Route can set its end time again and again, but not when its sandbox was created.
	if last := f.Created.Add(record.Preparation + l.Longest); !f.Created.IsZero() && end.After(last) {
		end, why = last, reason.TooLong
	}
	expiry := onceDue(end.Add(slack), now, Verdict{Action: End, Reason: why, Since: end})
	if expiry.Action != Nothing || j.State != record.Live || f.Ready > 0 {
		return expiry
	}
	hold := Verdict{Action: Hold, Reason: reason.Unready, Since: f.UnreadySince}
	if f.Others == 0 {
		return hold // no other backend serves users
	}
	if v := onceDue(f.UnreadySince.Add(l.Grace), now, hold); v.Action != Nothing || v.RequeueAfter < expiry.RequeueAfter {
		return v
	}
	return expiry
}

// later returns the later of two times.
func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// onceDue returns the verdict v if its time has come, and otherwise when to check again.
func onceDue(due, now time.Time, v Verdict) Verdict {
	if wait := due.Sub(now); wait > 0 {
		return Verdict{Action: Nothing, RequeueAfter: wait}
	}
	return v
}
