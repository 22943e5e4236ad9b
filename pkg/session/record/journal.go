// Package record reads and changes a debugging session as it is stored on its Route, without API
// calls. The Route carries its own undo record, the journal. It is written in the same patch as the
// change that it undoes, so anyone who can patch the Route can restore it at any time. A session
// has three marks: the label with its ID (also the lock against a second session), the journal, and
// a backend named after the ID.
//
//	arming    label + journal, our backend at weight 0
//	live      label + journal, weights shifted
//	held      label + journal, traffic given back, sandbox kept for inspection
//	draining  label only: the Route is as before, the sandbox is being deleted
package record

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	routev1 "github.com/openshift/api/route/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/route"
)

// Marks on the Route and on the objects of a session.
const (
	Label             = "osc-debug.dev/session"
	JournalKey        = "osc-debug.dev/journal"
	RouteUIDKey       = "osc-debug.dev/route-uid"
	RouteNameKey      = "osc-debug.dev/route"
	FieldManager      = "osc-debug"
	NamePrefix        = "osc-debug-"
	JournalVersion    = 1 // the newest version that this code reads and writes
	idLetters         = "bcdfghjklmnpqrstvwxz2456789"
	idLength          = 8
	serviceNameLength = len(NamePrefix) + idLength
	MaxPods           = 26 // one for each letter in PodName
)

// PodShape is the newest shape of a sandbox's pods that this code creates, and that its guard
// recognises: their names, marks, owner, containers and runtime class. A change of them that an older
// guard would not recognise makes a new shape. Sessions use the newest shape that command and guard
// both know.
const PodShape = 1

// Sidecar is the name of the container with the debugging tools.
const Sidecar = "osc-debug"

// Deadline is the lifetime of a sandbox pod (activeDeadlineSeconds), the longest that the sandbox
// policy allows. It cannot be raised later, so a session's own end is in its journal.
const Deadline = 4 * time.Hour

// MaxGrace is the longest grace period of a sandbox pod. The session's end waits for the pod to
// terminate, and no user is connected to it by then. The kubelet also adds it to Deadline.
const MaxGrace = time.Minute

// Preparation is how long a session's pods may exist before it is live. If they took longer to become
// ready, the session ends earlier.
const Preparation = 10 * time.Minute

// Longest is the longest that a session may last. It is shorter than Deadline, because the pods are
// created before the session is live and must outlive it.
const Longest = Deadline - Preparation

// OrphanAge is how long a sandbox's objects may exist without a mark of their session on the Route.
// Then a guard deletes them.
const OrphanAge = 2 * time.Minute

// MaxJournal is the longest annotation, in bytes, that is read as a journal. Ours are shorter than
// 2 KiB.
const MaxJournal = 4 << 10

// Longest values in a journal, in bytes.
const (
	maxJournalName = 253 // a Service's name
	maxJournalUID  = 64
	maxJournalText = 320 // User and Workload
)

// State is the state of a session.
type State string

// States, in the order of a session. Draining is not stored in a journal: it is a label without
// one.
const (
	Arming   State = "arming"
	Live     State = "live"
	Held     State = "held"
	Draining State = "draining"
)

// Weight is a Service's weight on the Route, nil if the Route does not set it.
type Weight struct {
	Service string `json:"service"`
	Weight  *int32 `json:"weight,omitempty"`
}

// Weights are a Route's backends, the primary first.
type Weights struct {
	Backends []Weight `json:"backends"`
	// NoList is true if spec.alternateBackends was absent, not an empty list. A restore makes it
	// absent again.
	NoList bool `json:"noList,omitempty"`
}

// Journal is the undo record.
type Journal struct {
	Version  int           `json:"version"`
	Session  string        `json:"session"`
	State    State         `json:"state"`
	RouteUID string        `json:"routeUID"`
	User     string        `json:"user,omitempty"` // unverified; the audit log is authoritative
	Workload string        `json:"workload,omitempty"`
	Asked    route.Percent `json:"asked"`
	Realised route.Percent `json:"realised"` // by the router's arithmetic
	// Servers is how many servers the Route's primary Service had at the start, 0 if unknown.
	Servers int `json:"servers,omitempty"`
	// Pods is how many pods the sandbox has, 0 if unknown.
	Pods int `json:"pods,omitempty"`
	// Shape is the pods' shape, at most PodShape. It is absent for shape 1.
	Shape int `json:"shape,omitempty"`
	// Failover is true if the originals keep the smallest share at 100 percent.
	Failover bool        `json:"failover,omitempty"`
	ArmBy    metav1.Time `json:"armBy"` // a session still arming after this is abandoned
	Expires  metav1.Time `json:"expires,omitzero"`
	Before   Weights     `json:"before"` // what a restore goes back to
	Set      Weights     `json:"set"`    // what the session wrote last
	// Foreign is true if others changed backends before the last write; Before has their values.
	Foreign bool `json:"foreign,omitempty"`
	// Dynamic is true if a router has the dynamic configuration manager: it changes servers without a reload.
	Dynamic bool `json:"dynamic,omitempty"`
	// Served is the hash, by func Servers, of the servers that the backends with a weight had at the last write, if
	// Dynamic.
	Served string `json:"served,omitempty"`
	// Touched is when someone last wrote the journal for no other purpose than a reload.
	Touched metav1.Time `json:"touched,omitzero"`
}

// NewID returns a random session ID of 8 letters and digits. It has no vowels, so it spells no
// word.
func NewID() string {
	raw := make([]byte, idLength)
	_, _ = rand.Read(raw) // never fails (documentation of crypto/rand)
	for i, b := range raw {
		raw[i] = idLetters[int(b)%len(idLetters)]
	}
	return string(raw)
}

var validID = regexp.MustCompile(`^[` + idLetters + `]{8}$`)

// ValidID reports whether s has the form of a session ID.
func ValidID(s string) bool { return validID.MatchString(s) }

// ServiceName returns the name of a session's Service, which is also its backend on the Route.
func ServiceName(id string) string { return NamePrefix + id }

// PodName returns the name of a session's n-th pod, from 0. It ends in a letter, because some
// programs read the number at the end of their host name as their ordinal in a StatefulSet. With a
// number, the sandbox would act as an existing member.
func PodName(id string, n int) string { return fmt.Sprintf("%s%s-%c", NamePrefix, id, 'a'+n) }

// NamesPod reports whether name is the name of one of a session's pods. j says how many there are;
// if it is nil or does not say, any number up to 26 counts. A user who can create pods can copy
// every sandbox marker, but cannot reuse an existing pod's name.
func NamesPod(name, id string, j *Journal) bool {
	pods := MaxPods
	if j != nil && j.Pods > 0 {
		pods = min(j.Pods, MaxPods)
	}
	for n := range pods {
		if name == PodName(id, n) {
			return true
		}
	}
	return false
}

// sessionIDOfService returns the session ID in a backend's name, "" for others' backends.
func sessionIDOfService(name string) string {
	if len(name) == serviceNameLength && name[:len(NamePrefix)] == NamePrefix && ValidID(name[len(NamePrefix):]) {
		return name[len(NamePrefix):]
	}
	return ""
}

// WeightsOf returns a Route's backends and their weights.
func WeightsOf(r *routev1.Route) Weights {
	w := Weights{Backends: []Weight{{r.Spec.To.Name, r.Spec.To.Weight}}, NoList: r.Spec.AlternateBackends == nil}
	for _, a := range r.Spec.AlternateBackends {
		w.Backends = append(w.Backends, Weight{a.Name, a.Weight})
	}
	return w
}

// weightOf returns the weight of a Service, and whether it is a backend.
func (w Weights) weightOf(service string) (*int32, bool) {
	for _, b := range w.Backends {
		if b.Service == service {
			return b.Weight, true
		}
	}
	return nil, false
}

// indexOf returns the index of a Service, -1 if it is not a backend.
func (w Weights) indexOf(service string) int {
	return slices.IndexFunc(w.Backends, func(b Weight) bool { return b.Service == service })
}

// ShapeFor returns the shape of a new session's pods if its guard knows shapes up to guards: the value
// of Journal.Shape.
func ShapeFor(guards int) int {
	if shape := min(guards, PodShape); shape > 1 {
		return shape
	}
	return 0
}

// CutText cuts a text to what User and Workload of a journal may have.
func CutText(s string) string {
	if len(s) <= maxJournalText {
		return s
	}
	return strings.ToValidUTF8(s[:maxJournalText-len("…")], "") + "…"
}

// Encode returns the journal as JSON, the text of the annotation.
func (j *Journal) Encode() (string, error) { return plainJSON(j) }

// plainJSON returns a value as JSON without the escapes that only matter in HTML.
func plainJSON(v any) (string, error) {
	var out strings.Builder
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(v)
	return strings.TrimSuffix(out.String(), "\n"), err
}

// Decode parses a journal. The error has a reason if the text is too long, malformed, of an unknown
// version or inconsistent; nothing may be restored from such a text.
func Decode(text string) (*Journal, error) {
	if len(text) > MaxJournal {
		return nil, reason.New(reason.JournalTooLong, "size", len(text), "limit", MaxJournal)
	}
	var j Journal
	if err := json.Unmarshal([]byte(text), &j); err != nil {
		return nil, reason.New(reason.JournalMalformed, "why", err)
	}
	switch {
	case j.Version != JournalVersion:
		return nil, reason.New(reason.JournalVersionUnknown, "version", j.Version)
	case !ValidID(j.Session):
		return nil, reason.New(reason.JournalContradictory, "why", fmt.Sprintf("%q is not a session ID", j.Session))
	case j.State != Arming && j.State != Live && j.State != Held:
		return nil, reason.New(reason.JournalContradictory, "why", fmt.Sprintf("unknown state %q", j.State))
	case len(j.Before.Backends) == 0 || len(j.Before.Backends) > 4:
		return nil, reason.New(reason.JournalContradictory, "why", fmt.Sprintf("%d backends recorded, must be 1 to 4", len(j.Before.Backends)))
	case len(j.Set.Backends) > 4:
		return nil, reason.New(reason.JournalContradictory, "why", fmt.Sprintf("%d backends set, must be at most 4", len(j.Set.Backends)))
	}
	if err := errors.Join(j.checkLengths(), j.checkNames(text)); err != nil {
		return nil, err
	}
	return &j, nil
}

// checkNames returns an error if a backend's name is not spelled in the text as sessions spell it. JSON has
// other spellings for the same name, and the guard's admission policy compares texts.
func (j *Journal) checkNames(text string) error {
	var compact bytes.Buffer
	if err := json.Compact(&compact, []byte(text)); err != nil {
		return reason.New(reason.JournalMalformed, "why", err)
	}
	for _, b := range j.Before.Backends {
		plain, err := plainJSON(b.Service)
		if err != nil || plain != `"`+b.Service+`"` || !strings.Contains(compact.String(), `"service":`+plain) {
			return reason.New(reason.JournalContradictory, "why", fmt.Sprintf("backend %q is spelled in another way", b.Service))
		}
	}
	return nil
}

// checkLengths returns an error if a value is longer than a session writes it.
func (j *Journal) checkLengths() error {
	long := func(what string, value string, limit int) error {
		if len(value) <= limit {
			return nil
		}
		return reason.New(reason.JournalContradictory, "why", fmt.Sprintf("%s has %d bytes, may have %d", what, len(value), limit))
	}
	err := errors.Join(long("routeUID", j.RouteUID, maxJournalUID), long("user", j.User, maxJournalText), long("workload", j.Workload, maxJournalText),
		long("served", j.Served, maxJournalUID))
	for _, b := range slices.Concat(j.Before.Backends, j.Set.Backends) {
		err = errors.Join(err, long("a backend's name", b.Service, maxJournalName))
	}
	return err
}

// Session is what a Route's marks say.
type Session struct {
	ID      string
	State   State
	Journal *Journal // nil while draining, or if someone removed it
	// Backend is true if the session's backend is still on the Route.
	Backend bool
	// Alone is true if it is the Route's only backend.
	Alone bool
	// Broken is why the journal cannot be used, nil if it can or there is none.
	Broken error
}

// Of reads the session from a Route, nil if there is none. Any one mark is enough, because someone
// else may have removed the others.
func Of(r *routev1.Route) *Session {
	s := &Session{ID: r.Labels[Label], State: Draining}
	if text, ok := r.Annotations[JournalKey]; ok {
		s.Journal, s.Broken = Decode(text)
		if s.Journal != nil {
			s.State = s.Journal.State
			s.ID = s.Journal.Session
		}
	}
	for _, b := range WeightsOf(r).Backends {
		id := sessionIDOfService(b.Service)
		if s.ID == "" {
			s.ID = id
		}
		s.Backend = s.Backend || id != "" && id == s.ID
	}
	if s.ID == "" && s.Broken == nil {
		return nil
	}
	s.Alone = isOnlyBackend(&r.Spec, s.ID)
	return s
}

// Unended reports whether the Route has more of the session than the label, which alone remains
// while draining. It is false if s is nil.
func (s *Session) Unended() bool {
	return s != nil && (s.Journal != nil || s.Broken != nil || s.Backend)
}

// Left returns how long a session may still run, negative if it is past its end.
func (j *Journal) Left(now time.Time) time.Duration {
	if j.State == Arming {
		return j.ArmBy.Sub(now)
	}
	return j.Expires.Sub(now)
}
