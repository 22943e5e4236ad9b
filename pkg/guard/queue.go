package guard

import (
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/util/workqueue"
)

// queue holds the sessions to check.
type queue struct {
	workqueue.TypedRateLimitingInterface[key]
	refusals workqueue.TypedRateLimiter[key]
}

// Backoffs of a session whose check failed. An API server that cannot answer now is asked again soon.
// One that rejects the write for good is asked again after minutes: it gives the same answer until
// someone changes something. If that is the Route or the sandbox, the change queues the session at once.
const (
	firstRetry     = 200 * time.Millisecond
	longestRetry   = 10 * time.Second
	longestRefused = 5 * time.Minute
	longestDenied  = time.Minute // an API server that has just started denies everything
)

// newQueue makes a queue. isMatched reports whether a session's Route is known.
func newQueue(isMatched func(key) bool) queue {
	limiter := workqueue.NewTypedItemExponentialFailureRateLimiter[key](firstRetry, longestRetry)
	refusals := workqueue.NewTypedItemExponentialFailureRateLimiter[key](firstRetry, longestRefused)
	laneOf := func(k key) lane {
		switch {
		case !isMatched(k):
			return unmatched
		case refusals.NumRequeues(k) > 0:
			return refused
		}
		return matched
	}
	return queue{
		workqueue.NewTypedRateLimitingQueueWithConfig(limiter, workqueue.TypedRateLimitingQueueConfig[key]{
			DelayingQueue: workqueue.NewTypedDelayingQueueWithConfig(workqueue.TypedDelayingQueueConfig[key]{
				Queue: workqueue.NewTypedWithConfig(workqueue.TypedQueueConfig[key]{Queue: &fairQueue{laneOf: laneOf}}),
			}),
		}),
		refusals,
	}
}

// retry queues a session again after its check failed with err.
func (q queue) retry(k key, err error) {
	if isRefusal(err) {
		wait := q.refusals.When(k)
		if apierrors.IsForbidden(err) {
			wait = min(wait, longestDenied)
		}
		q.AddAfter(k, wait)
		return
	}
	q.AddRateLimited(k)
}

// succeeded forgets earlier failures of a session.
func (q queue) succeeded(k key) {
	q.Forget(k)
	q.refusals.Forget(k)
}

// isRefusal reports whether the API server has judged a request and will judge it in the same way again.
func isRefusal(err error) bool {
	return apierrors.IsForbidden(err) || apierrors.IsInvalid(err)
}

// fairQueue orders waiting sessions so that no namespace delays another: namespaces take turns, one
// session each. Within a namespace, sessions wait in lanes. It implements workqueue.Queue.
type fairQueue struct {
	laneOf  func(key) lane
	turns   []string // namespaces with waiting sessions, the next one first
	waiting map[string]*lanes
	n       int
}

// lane is a part of the waiting sessions of a namespace. A session waits for all those in lower lanes.
type lane int

const (
	matched   lane = iota // the Route has the session's marks
	refused               // the same, but the API server rejected the last write
	unmatched             // objects name a Route without marks: anyone who can create pods can make thousands
	laneCount
)

// lanes are the waiting sessions of one namespace, in each lane in order of arrival.
type lanes [laneCount][]key

// Touch is called for a session that waits already.
func (q *fairQueue) Touch(key) {}

// Push adds a session.
func (q *fairQueue) Push(k key) {
	l := q.waiting[k.namespace]
	if l == nil {
		if q.waiting == nil {
			q.waiting = map[string]*lanes{}
		}
		l = &lanes{}
		q.waiting[k.namespace] = l
		q.turns = append(q.turns, k.namespace)
	}
	in := q.laneOf(k)
	l[in] = append(l[in], k)
	q.n++
}

// Len returns how many sessions wait.
func (q *fairQueue) Len() int { return q.n }

// Pop removes the next session. There must be one.
func (q *fairQueue) Pop() key {
	namespace := q.turns[0]
	q.turns = q.turns[1:]
	k, more := q.waiting[namespace].pop()
	q.n--
	if more {
		q.turns = append(q.turns, namespace)
	} else {
		delete(q.waiting, namespace)
	}
	return k
}

// pop removes the first session of the lowest lane. There must be one. more is true if others are left.
func (l *lanes) pop() (k key, more bool) {
	popped := false
	for i := range l {
		if len(l[i]) > 0 && !popped {
			k, l[i], popped = l[i][0], l[i][1:], true
		}
		more = more || len(l[i]) > 0
	}
	return k, more
}

var _ workqueue.Queue[key] = &fairQueue{}
