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

// fairQueue orders waiting sessions: by lanes, and in each lane so that no namespace delays another: namespaces
// take turns, one session each. It implements workqueue.Queue.
type fairQueue struct {
	laneOf func(key) lane
	lanes  [laneCount]turns
}

// lane is a part of the waiting sessions. A session waits for all those in lower lanes, of every namespace: what
// anyone can make thousands of must not delay what users depend on.
type lane int

const (
	matched   lane = iota // the Route has the session's marks
	refused               // the same, but the API server rejected the last write
	unmatched             // objects name a Route without marks: anyone who can create pods can make thousands
	laneCount
)

// turns are the waiting sessions of a lane.
type turns struct {
	next    []string         // namespaces with waiting sessions, the next one first
	waiting map[string][]key // by namespace, in order of arrival
	n       int
}

// Touch is called for a session that waits already.
func (q *fairQueue) Touch(key) {}

// Push adds a session.
func (q *fairQueue) Push(k key) {
	t := &q.lanes[q.laneOf(k)]
	if t.waiting == nil {
		t.waiting = map[string][]key{}
	}
	if len(t.waiting[k.namespace]) == 0 {
		t.next = append(t.next, k.namespace)
	}
	t.waiting[k.namespace] = append(t.waiting[k.namespace], k)
	t.n++
}

// Len returns how many sessions wait.
func (q *fairQueue) Len() (n int) {
	for i := range q.lanes {
		n += q.lanes[i].n
	}
	return n
}

// Pop removes the next session. There must be one.
func (q *fairQueue) Pop() key {
	i := 0
	for q.lanes[i].n == 0 {
		i++
	}
	return q.lanes[i].pop()
}

// pop removes the first session of the namespace whose turn it is. There must be one.
func (t *turns) pop() key {
	namespace := t.next[0]
	t.next = t.next[1:]
	k, left := t.waiting[namespace][0], t.waiting[namespace][1:]
	t.n--
	if len(left) > 0 {
		t.waiting[namespace] = left
		t.next = append(t.next, namespace)
	} else {
		delete(t.waiting, namespace)
	}
	return k
}

var _ workqueue.Queue[key] = &fairQueue{}
