package record

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	routev1 "github.com/openshift/api/route/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osc-debug/osc-debug/pkg/reason"
)

// A Change applies one of a session's four patches to a Route. Changes are idempotent: if the
// Route has the change already, because the response to an earlier write was lost, nothing
// changes.
type Change func(*routev1.Route) error

// InSession is the error for a Route that has another session.
type InSession struct {
	Namespace, Name string
	Session         *Session
}

func (e *InSession) Error() string { return e.Reason().Error() }

// Reason implements reason.Reasoned.
func (e *InSession) Reason() *reason.Error {
	who, until := "an unknown user", ""
	if j := e.Session.Journal; j != nil {
		who = j.User
		if j.State == Live {
			until = ", until " + j.Expires.UTC().Format("15:04:05 MST")
		}
	}
	return reason.New(reason.RouteInSession, "namespace", e.Namespace, "route", e.Name,
		"session", e.Session.ID, "who", who, "state", string(e.Session.State)+until)
}

// ArmRoute marks the Route and adds our backend at weight 0. It records the Route's backends in j.
// Apart from its weights, the Route must still be the one that was judged.
func ArmRoute(j *Journal, judged *routev1.Route) Change {
	was := specWithoutWeights(judged)
	return func(r *routev1.Route) error {
		if s := Of(r); s != nil && s.ID != j.Session {
			return &InSession{r.Namespace, r.Name, s}
		}
		if err := checkSameRoute(r, j); err != nil {
			return err
		}
		if s := Of(r); s != nil && s.Backend && s.Journal != nil {
			return nil
		}
		if !reflect.DeepEqual(specWithoutWeights(r), was) {
			return reason.New(reason.RouteChanged, "namespace", r.Namespace, "route", r.Name)
		}
		j.Before = WeightsOf(r)
		zero := int32(0)
		r.Spec.AlternateBackends = append(r.Spec.AlternateBackends,
			routev1.RouteTargetReference{Kind: "Service", Name: ServiceName(j.Session), Weight: &zero})
		j.Set = WeightsOf(r)
		return writeMarks(r, j)
	}
}

// specWithoutWeights returns a copy of a Route's spec without its weights.
func specWithoutWeights(r *routev1.Route) *routev1.RouteSpec {
	spec := r.Spec.DeepCopy()
	spec.To.Weight = nil
	for i := range spec.AlternateBackends {
		spec.AlternateBackends[i].Weight = nil
	}
	if len(spec.AlternateBackends) == 0 {
		spec.AlternateBackends = nil
	}
	return spec
}

// ShiftRoute sets the weights, by Service name, and records them in the journal. It resumes a held
// session only if resumes is true: the caller must know that the session is held.
func ShiftRoute(j *Journal, weights map[string]int32, resumes bool) Change {
	return func(r *routev1.Route) error {
		if err := checkSameRoute(r, j); err != nil {
			return err
		}
		s := Of(r)
		if s == nil || s.ID != j.Session || !s.Backend || s.Journal == nil {
			return reason.New(reason.SessionRemoved, "namespace", r.Namespace, "route", r.Name, "session", j.Session)
		}
		if s.State == Held && !resumes {
			return reason.New(reason.SessionHeld, "namespace", r.Namespace, "route", r.Name, "session", j.Session)
		}
		for _, ref := range refsOf(&r.Spec) {
			if _, ok := weights[ref.Name]; !ok {
				return reason.New(reason.BackendAdded, "namespace", r.Namespace, "route", r.Name, "service", ref.Name)
			}
			if set, ok := s.Journal.Set.weightOf(ref.Name); s.State == Arming && ok && !equalWeights(set, ref.Weight) {
				return reason.New(reason.WeightChanged, "namespace", r.Namespace, "route", r.Name, "service", ref.Name)
			}
		}
		before, foreign := Originals(r, s.Journal)
		j.Before, j.Foreign = before, s.Journal.Foreign || foreign
		if s.State != Arming {
			j.Expires = s.Journal.Expires // it may have been extended meanwhile
			j.Touched = s.Journal.Touched
		}
		for _, ref := range refsOf(&r.Spec) {
			w := weights[ref.Name]
			ref.Weight = &w
		}
		j.Set = WeightsOf(r)
		return writeMarks(r, j)
	}
}

// HoldRoute takes the session's traffic off the Route and keeps everything else. Our backend stays
// at weight 0, so that the session can be resumed. The restored backends, with the changes of
// others, become the journal's new Before.
func HoldRoute(id string) Change {
	return func(r *routev1.Route) error {
		s, err := runningSession(r, id)
		if err != nil {
			return err
		}
		if s.State == Held {
			return nil
		}
		j := *s.Journal
		before, foreign := Originals(r, &j)
		Restore(&r.Spec, &j)
		zero := int32(0)
		r.Spec.AlternateBackends = append(r.Spec.AlternateBackends,
			routev1.RouteTargetReference{Kind: "Service", Name: ServiceName(id), Weight: &zero})
		j.State, j.Realised, j.Before, j.Set = Held, 0, before, WeightsOf(r)
		j.Foreign = j.Foreign || foreign
		return writeMarks(r, &j)
	}
}

// ExtendRoute moves a session's end.
func ExtendRoute(id string, expires metav1.Time) Change {
	return func(r *routev1.Route) error {
		s, err := runningSession(r, id)
		if err != nil {
			return err
		}
		s.Journal.Expires = expires
		return writeMarks(r, s.Journal)
	}
}

// runningSession returns the session with this ID if it is live or held and its journal is usable.
func runningSession(r *routev1.Route, id string) (*Session, error) {
	s := Of(r)
	switch {
	case s == nil || s.ID != id:
		return nil, reason.New(reason.SessionGone, "namespace", r.Namespace, "route", r.Name, "session", id)
	case s.Broken != nil:
		return nil, fmt.Errorf("route %s/%s: %w", r.Namespace, r.Name, s.Broken)
	case s.Journal == nil:
		return nil, reason.New(reason.SessionEnding, "namespace", r.Namespace, "route", r.Name, "session", id)
	case s.State == Arming:
		return nil, reason.New(reason.SessionStillArming, "namespace", r.Namespace, "route", r.Name, "session", id)
	}
	return s, checkSameRoute(r, s.Journal)
}

// NoWayBack is the error for a Route whose only backend is the sandbox and which has no journal
// that records the original backends. Ending the session would leave no backend to serve users.
type NoWayBack struct{ Namespace, Name, ID string }

func (e *NoWayBack) Error() string { return e.Reason().Error() }

// Reason implements reason.Reasoned.
func (e *NoWayBack) Reason() *reason.Error {
	return reason.New(reason.SandboxOnlyBackend, "namespace", e.Namespace, "route", e.Name, "session", e.ID)
}

// Outcome is what ending a session found.
type Outcome struct {
	Foreign bool     // others had changed the Route
	Kept    []string // what the Route's backends have of those changes, as clauses
	Earlier bool     // others had also changed it before the session last wrote it
	Gone    bool     // the Route no longer exists, or has another session
	Blind   bool     // the journal was missing or unreadable
}

// String describes what was kept of the changes that others made, for a message.
func (o Outcome) String() string {
	switch {
	case o.Gone:
		return "someone else had deleted the Route or removed the session's marks"
	case o.Blind:
		return "the journal was missing or unreadable, so the other backends keep the weights that they had last"
	}
	kept := o.Kept
	if o.Earlier {
		kept = append(slices.Clone(kept), "what they had changed before the session last set its weights")
	}
	if len(kept) == 0 {
		return "others had changed it during the session; its backends are as they were before"
	}
	return "changes made by others during the session were kept: " + strings.Join(kept, "; ")
}

// RestoreRoute restores the Route's backends, removes the journal, and stores in out what it found.
// The label stays until what the session created is gone.
func RestoreRoute(id string, out *Outcome) Change {
	return func(r *routev1.Route) error {
		*out = Outcome{}
		s := Of(r)
		switch {
		case s == nil:
			out.Foreign, out.Gone = true, true // someone else removed all marks and the backend
			return nil
		case s.ID != id && s.ID != "":
			return &InSession{r.Namespace, r.Name, s}
		case s.Journal != nil && s.Journal.RouteUID == string(r.UID):
			out.Foreign, out.Kept = Restore(&r.Spec, s.Journal)
			out.Earlier = s.Journal.Foreign
			out.Foreign = out.Foreign || out.Earlier || r.Labels[Label] != id
		case s.Backend || s.Broken != nil || s.Journal != nil:
			out.Foreign, out.Blind = true, true
			if !RestoreBlind(&r.Spec, id) {
				return &NoWayBack{r.Namespace, r.Name, id}
			}
		}
		delete(r.Annotations, JournalKey)
		return nil
	}
}

// CloseRoute removes the last mark and our entry in managedFields. It must not change the spec:
// with a spec change the API server would add the entry again.
func CloseRoute(id string) Change {
	return func(r *routev1.Route) error {
		if r.Labels[Label] == id {
			delete(r.Labels, Label)
		}
		if Of(r) == nil {
			r.ManagedFields = withoutOwnEntries(r.ManagedFields)
		}
		return nil
	}
}

// checkSameRoute refuses a Route that was deleted and recreated under the same name.
func checkSameRoute(r *routev1.Route, j *Journal) error {
	if string(r.UID) != j.RouteUID {
		return reason.New(reason.RouteRecreated, "namespace", r.Namespace, "route", r.Name)
	}
	return nil
}

// writeMarks writes the label and the journal.
func writeMarks(r *routev1.Route, j *Journal) error {
	text, err := j.Encode()
	if err != nil {
		return err
	}
	if _, err := Decode(text); err != nil {
		return err // never write what cannot be read
	}
	if r.Labels == nil {
		r.Labels = map[string]string{}
	}
	if r.Annotations == nil {
		r.Annotations = map[string]string{}
	}
	r.Labels[Label], r.Annotations[JournalKey] = j.Session, text
	return nil
}

// HasBackend reports whether a session's backend is on the Route.
func HasBackend(r *routev1.Route, id string) bool {
	for _, ref := range refsOf(&r.Spec) {
		if ref.Name == ServiceName(id) {
			return true
		}
	}
	return false
}
