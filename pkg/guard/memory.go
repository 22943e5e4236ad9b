package guard

import (
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/session/record"
)

// maxUnmatched limits the sessions of a namespace that the guard remembers although their Routes do not have
// their marks. Anyone who can create pods can make thousands of such objects. The guard looks at those over the
// limit when it lists the objects again.
const maxUnmatched = 1000

// memory holds what no object records about a session. The embedded mutex guards all fields that are not
// atomic; a worker holds it while it works on the session.
type memory struct {
	sync.Mutex
	unreadySince, drainingSince, marklessSince time.Time
	drainEnds                                  time.Time            // end of the drain after this guard restored the Route; zero: it did not
	created                                    time.Time            // of the first object that was ever seen
	deleted                                    bool                 // this guard deleted an object of the session
	closed                                     bool                 // this guard removed the last mark
	changed                                    time.Time            // time of the event that caused the check; zero: no event did
	routeUID                                   types.UID            // UID of the Route that had the session's marks
	firstEvent                                 atomic.Int64         // Unix time in ns of the first event not yet checked; 0: none
	onRoute                                    atomic.Bool          // the Route had the session's marks
	reported                                   map[reason.Code]bool // Events that have been written
	reloads                                    record.Reloads
}

// memories has the memory of each session. The zero value is ready for use.
type memories struct {
	mu           sync.Mutex
	all          map[key]*memory
	perNamespace map[string]int
}

// of returns the memory of a session, and creates it if necessary.
func (m *memories) of(k key) *memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.create(k)
}

// within is of, but returns nil if the session has no memory and its namespace has limit sessions.
func (m *memories) within(k key, limit int) *memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.all[k] == nil && m.perNamespace[k.namespace] >= limit {
		return nil
	}
	return m.create(k)
}

func (m *memories) create(k key) *memory {
	if found := m.all[k]; found != nil {
		return found
	}
	if m.all == nil {
		m.all, m.perNamespace = map[key]*memory{}, map[string]int{}
	}
	created := &memory{reported: map[reason.Code]bool{}}
	m.all[k] = created
	m.perNamespace[k.namespace]++
	return created
}

// wasOnRoute reports whether a session's Route had its marks when it was last seen.
func (m *memories) wasOnRoute(k key) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	found := m.all[k]
	return found != nil && found.onRoute.Load()
}

// forget deletes the memory of a session.
func (m *memories) forget(k key) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.all[k] == nil {
		return
	}
	delete(m.all, k)
	if m.perNamespace[k.namespace]--; m.perNamespace[k.namespace] == 0 {
		delete(m.perNamespace, k.namespace)
	}
}

// forgetAll deletes the memory of all sessions.
func (m *memories) forgetAll() {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.all)
	clear(m.perNamespace)
}
