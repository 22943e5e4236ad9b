//go:build e2e

package e2e

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Tests begin one after another, and only while the cluster answers quickly. Without that, all of them would begin at
// once: on a slow machine, users' commands then wait so long that their sessions end. So a fast machine runs many tests
// at once and a slow one few. The tests that take longest begin first.
const (
	beginEvery  = 400 * time.Millisecond // at most one test begins in that time
	killEvery   = 100 * time.Millisecond // the same for the commands that a kill matrix ends
	answers     = 4                      // requests that must be answered
	answersIn   = time.Second            // within this time, all together
	beginAnyway = 8 * time.Second        // a test begins if none has begun for this long
)

// longest are the tests that begin first: those that wait for Leases, orphans and expiries, and those that share the VM.
var longest = []string{
	"TestKilled", "TestTheGuardKilled", "TestASlowRollbackKilled", "TestForgedSessions", "TestAToolThatReapplies", "TestClonesThatRun",
	"TestDoctorFinds", "TestARealSession", "TestAReader", "TestTheTeamsRoles", "TestAnImageThatCannotBePulled", "TestASessionThatCannotTrace",
	"TestFaultsOnAFifth", "TestProofAtTwoRouters", "TestALeaderThatBeginsAgain", "TestTheGuardLetsRoutersCatchUp", "TestATeamsOwnGuard",
}

// beginning has the tests that wait to begin, killing the commands of kill matrices: neither waits for the other.
var beginning, killing = newQueue(), newQueue()

// mayBegin waits until a test may begin.
func mayBegin(t *testing.T) {
	t.Helper()
	first := slices.ContainsFunc(longest, func(name string) bool { return strings.HasPrefix(t.Name(), name) })
	beginning.wait(t.Context(), first, beginEvery)
}

// queue lets those who wait go one after another.
type queue struct {
	mu      sync.Mutex
	changed *sync.Cond
	busy    bool      // someone is deciding whether to go
	first   int       // how many wait who go before others
	last    time.Time // when someone went
}

func newQueue() *queue {
	q := &queue{}
	q.changed = sync.NewCond(&q.mu)
	return q
}

// wait waits until the caller may go: pause after the last, when the cluster answers quickly. It returns at once when the
// context ends.
func (q *queue) wait(ctx context.Context, first bool, pause time.Duration) {
	q.mu.Lock()
	if first {
		q.first++
	}
	for q.busy || q.first > 0 && !first {
		q.changed.Wait()
	}
	q.busy = true
	last := q.last
	q.mu.Unlock()

	for ctx.Err() == nil && time.Since(last) < beginAnyway {
		if time.Since(last) >= pause && answersQuickly(ctx) {
			break
		}
		time.Sleep(killEvery)
	}

	q.mu.Lock()
	defer q.mu.Unlock()
	if q.last, q.busy = time.Now(), false; first {
		q.first--
	}
	q.changed.Broadcast()
}

// answersQuickly says whether the API server answers this process, which is as nice as users' commands, in time.
func answersQuickly(ctx context.Context) bool {
	began := time.Now()
	for range answers {
		if _, err := core.CoreV1().Namespaces().Get(ctx, metav1.NamespaceDefault, metav1.GetOptions{}); err != nil {
			return false
		}
	}
	return time.Since(began) < answersIn
}
