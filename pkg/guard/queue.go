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
)

// newQueue makes a queue. isMatched reports whether a session's Route is known.
func newQueue(isMatched func(key) bool) queue {
	limiter := workqueue.NewTypedItemExponentialFailureRateLimiter[key](firstRetry, longestRetry)
	return queue{
		workqueue.NewTypedRateLimitingQueueWithConfig(limiter, workqueue.TypedRateLimitingQueueConfig[key]{
			DelayingQueue: workqueue.NewTypedDelayingQueueWithConfig(workqueue.TypedDelayingQueueConfig[key]{
				Queue: workqueue.NewTypedWithConfig(workqueue.TypedQueueConfig[key]{Queue: &fairQueue{isMatched: isMatched}}),
			}),
		}),
		workqueue.NewTypedItemExponentialFailureRateLimiter[key](firstRetry, longestRefused),
	}
}

// retry queues a session again after its check failed with err.
func (q queue) retry(k key, err error) {
	if isRefusal(err) {
		q.AddAfter(k, q.refusals.When(k))
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
// session each. Within a namespace, sessions on a Route come before objects that name a Route without
// marks, of which anyone who can create pods can make thousands. It implements workqueue.Queue.
type fairQueue struct {
	isMatched func(key) bool
	turns     []string // namespaces with waiting sessions, the next one first
	waiting   map[string]*lanes
	n         int
}

// lanes are the waiting sessions of one namespace, each in order of arrival.
type lanes struct{ matched, others []key }

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
	if q.isMatched(k) {
		l.matched = append(l.matched, k)
	} else {
		l.others = append(l.others, k)
	}
	q.n++
}

// Len returns how many sessions wait.
func (q *fairQueue) Len() int { return q.n }

// Pop removes the next session. There must be one.
func (q *fairQueue) Pop() key {
	namespace := q.turns[0]
	q.turns = q.turns[1:]
	l := q.waiting[namespace]
	lane := &l.matched
	if len(l.matched) == 0 {
		lane = &l.others
	}
	k := (*lane)[0]
	*lane = (*lane)[1:]
	q.n--
	if len(l.matched)+len(l.others) == 0 {
		delete(q.waiting, namespace)
	} else {
		q.turns = append(q.turns, namespace)
	}
	return k
}

var _ workqueue.Queue[key] = &fairQueue{}
