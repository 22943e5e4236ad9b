// Package record is a debugging session as its Route tells it, without an API call. The
// Route carries its own undo record, the journal: it is written in the same patch as
// the change it undoes, so at every instant whoever may patch the Route can put it
// back. Three marks make a session: the label with its ID (also the lock against a
// second session), the journal, and a backend named after the ID.
//
//	arming    label + journal, our backend at weight 0
//	live      label + journal, weights shifted
//	held      label + journal, traffic is back, sandbox kept to be looked at
//	draining  label alone: the Route is as before, the sandbox is being removed
package record

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"regexp"
	"time"

	routev1 "github.com/openshift/api/route/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/route"
)

// Marks on the Route, and on what a session creates.
const (
	Label          = "osc-debug.dev/session"
	JournalKey     = "osc-debug.dev/journal"
	RouteUIDKey    = "osc-debug.dev/route-uid"
	RouteNameKey   = "osc-debug.dev/route"
	FieldManager   = "osc-debug"
	NamePrefix     = "osc-debug-"
	JournalVersion = 1 // the newest that this code reads and writes
	idLetters      = "bcdfghjklmnpqrstvwxz2456789"
	idLength       = 8
	maxHeldInName  = len(NamePrefix) + idLength
	maxPods        = 26 // that PodName has letters for
)

// Sidecar is the name of the container that the tools run in.
const Sidecar = "osc-debug"

// Deadline is how long a sandbox pod may live, the longest that the sandbox policy allows. It
// cannot be raised later, so sessions end earlier by their journal.
const Deadline = 4 * time.Hour

// Longest is how long a session may last: its pods are made before it begins, and end after it.
const Longest = Deadline - 10*time.Minute

// MaxJournal is the longest annotation, in bytes, that is read as a journal; ours are under
// 1 KiB.
const MaxJournal = 16 << 10

// State is where a session is.
type State string

// States, in the order a session goes through them. Draining stands in no journal: it
// is a label without one.
const (
	Arming   State = "arming"
	Live     State = "live"
	Held     State = "held"
	Draining State = "draining"
)

// Weight is a Service's weight on the Route; nil where the Route does not say.
type Weight struct {
	Service string `json:"service"`
	Weight  *int32 `json:"weight,omitempty"`
}

// Weights are a Route's backends, the primary first.
type Weights struct {
	Backends []Weight `json:"backends"`
	// NoList says that spec.alternateBackends was absent, not an empty list: a restore
	// leaves it absent again.
	NoList bool `json:"noList,omitempty"`
}

// Journal is the undo record.
type Journal struct {
	Version  int           `json:"version"`
	Session  string        `json:"session"`
	State    State         `json:"state"`
	RouteUID string        `json:"routeUID"`
	User     string        `json:"user,omitempty"` // a claim; the audit log is the truth
	Workload string        `json:"workload,omitempty"`
	Asked    route.Percent `json:"asked"`
	Realised route.Percent `json:"realised"` // by the router's arithmetic
	// Servers are those that the Route's primary Service had at the beginning, 0: not known.
	Servers int `json:"servers,omitempty"`
	// Pods is how many the sandbox has, 0: not known.
	Pods int `json:"pods,omitempty"`
	// Failover says that the originals keep the smallest share at 100 percent.
	Failover bool        `json:"failover,omitempty"`
	ArmBy    metav1.Time `json:"armBy"` // still arming after that: abandoned
	Expires  metav1.Time `json:"expires,omitzero"`
	Before   Weights     `json:"before"`
	Set      Weights     `json:"set"`
	// Foreign says that others changed backends earlier on; Before has their values.
	Foreign bool `json:"foreign,omitempty"`
}

// NewID returns a random session ID: 8 letters and digits that make no words.
func NewID() string {
	raw := make([]byte, idLength)
	_, _ = rand.Read(raw) // never fails, by its documentation
	for i, b := range raw {
		raw[i] = idLetters[int(b)%len(idLetters)]
	}
	return string(raw)
}

var validID = regexp.MustCompile(`^[` + idLetters + `]{8}$`)

// ValidID says whether s can be a session's ID.
func ValidID(s string) bool { return validID.MatchString(s) }

// ServiceName is the name of a session's Service and of its backend on the Route.
func ServiceName(id string) string { return NamePrefix + id }

// PodName is the name of a session's n-th pod, from 0. It ends in a letter: programs that
// take the number at the end of their host name for their place in a StatefulSet must not
// find one, and the place of a member taken, in it.
func PodName(id string, n int) string { return fmt.Sprintf("%s%s-%c", NamePrefix, id, 'a'+n) }

// NamesPod says whether a name is that of one of a session's pods: of as many as its journal
// tells, of any number where that is not known (j is nil, or does not say). Who may only create
// pods can give one all marks of a sandbox, but not a name that is taken.
func NamesPod(name, id string, j *Journal) bool {
	pods := maxPods
	if j != nil && j.Pods > 0 {
		pods = min(j.Pods, maxPods)
	}
	for n := range pods {
		if name == PodName(id, n) {
			return true
		}
	}
	return false
}

// idOfService is the session that a backend's name tells, "" for others' backends.
func idOfService(name string) string {
	if len(name) == maxHeldInName && name[:len(NamePrefix)] == NamePrefix && ValidID(name[len(NamePrefix):]) {
		return name[len(NamePrefix):]
	}
	return ""
}

// WeightsOf records a Route's backends.
func WeightsOf(r *routev1.Route) Weights {
	w := Weights{Backends: []Weight{{r.Spec.To.Name, r.Spec.To.Weight}}, NoList: r.Spec.AlternateBackends == nil}
	for _, a := range r.Spec.AlternateBackends {
		w.Backends = append(w.Backends, Weight{a.Name, a.Weight})
	}
	return w
}

func (w Weights) of(service string) (*int32, bool) {
	for _, b := range w.Backends {
		if b.Service == service {
			return b.Weight, true
		}
	}
	return nil, false
}

// Encode gives the annotation's text.
func (j *Journal) Encode() (string, error) {
	data, err := json.Marshal(j)
	return string(data), err
}

// Decode reads a journal. A text that is too long, malformed, of an unknown version or
// in itself contradictory is an error: nothing may be undone by it.
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
		return nil, reason.New(reason.JournalContradictory, "why", fmt.Sprintf("%q is no session ID", j.Session))
	case j.State != Arming && j.State != Live && j.State != Held:
		return nil, reason.New(reason.JournalContradictory, "why", fmt.Sprintf("unknown state %q", j.State))
	case len(j.Before.Backends) == 0 || len(j.Before.Backends) > 4:
		return nil, reason.New(reason.JournalContradictory, "why", fmt.Sprintf("%d backends recorded", len(j.Before.Backends)))
	}
	return &j, nil
}

// Session is what a Route's marks say.
type Session struct {
	ID      string
	State   State
	Journal *Journal // nil while draining, or when somebody removed it
	// Backend says that the session's backend still is on the Route.
	Backend bool
	// Alone says that it is the Route's only backend.
	Alone bool
	// Broken is why the journal can't be used, nil when it can or there is none.
	Broken error
}

// Of reads the session from a Route; nil when there is none. Each mark alone is
// enough: somebody else may have removed the others.
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
		id := idOfService(b.Service)
		if s.ID == "" {
			s.ID = id
		}
		s.Backend = s.Backend || id != "" && id == s.ID
	}
	if s.ID == "" && s.Broken == nil {
		return nil
	}
	s.Alone = onlyBackend(&r.Spec, s.ID)
	return s
}

// Unended says that the Route bears more of a session than the label that a drain leaves; of
// no session (nil) it bears nothing.
func (s *Session) Unended() bool {
	return s != nil && (s.Journal != nil || s.Broken != nil || s.Backend)
}

// Left tells how long a session may still run, negative when it is past its end.
func (j *Journal) Left(now time.Time) time.Duration {
	if j.State == Arming {
		return j.ArmBy.Sub(now)
	}
	return j.Expires.Sub(now)
}
