package guard

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The sessions on a Route come first, and among these the ones whose writes were not rejected. Namespaces take
// turns.
func TestNoNamespaceDelaysAnother(t *testing.T) {
	q := &fairQueue{laneOf: func(k key) lane {
		return map[string]lane{"unknown": unmatched, "stuck": refused}[k.route]
	}}
	for i := range 1000 {
		q.Push(key{"mallory", fmt.Sprint(i), "unknown"})
	}
	for _, k := range []key{{"mallory", "own", "web"}, {"shop", "s", "stuck"}, {"shop", "a", "web"}, {"shop", "b", "unknown"}, {"shop", "c", "api"}, {"team", "d", "web"}} {
		q.Push(k)
	}
	if q.Len() != 1006 {
		t.Errorf("%d sessions wait", q.Len())
	}
	var got []string
	for range 9 {
		k := q.Pop()
		got = append(got, k.namespace+" "+k.id)
	}
	if want := []string{"mallory own", "shop a", "team d", "shop c", "shop s", "mallory 0", "shop b", "mallory 1", "mallory 2"}; !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
	for q.Len() > 0 {
		q.Pop()
	}
	for i, lane := range q.lanes {
		if len(lane.waiting) != 0 || len(lane.next) != 0 {
			t.Errorf("the empty lane %d remembers %v, %v", i, lane.waiting, lane.next)
		}
	}
	q.Push(key{"shop", "a", "web"})
	if k := q.Pop(); k.id != "a" || q.Len() != 0 {
		t.Errorf("got %v from a queue that was empty", k)
	}
}

// Only an answer that the API server gives again and again counts as a refusal.
func TestWhatIsARefusal(t *testing.T) {
	status := func(reason metav1.StatusReason, code int32) error {
		return fmt.Errorf("patch: %w", &apierrors.StatusError{ErrStatus: metav1.Status{Reason: reason, Code: code}})
	}
	for err, want := range map[error]bool{
		status(metav1.StatusReasonForbidden, http.StatusForbidden):                   true,
		status(metav1.StatusReasonInvalid, http.StatusUnprocessableEntity):           true,
		status(metav1.StatusReasonConflict, http.StatusConflict):                     false,
		status(metav1.StatusReasonUnauthorized, http.StatusUnauthorized):             false,
		status(metav1.StatusReasonTooManyRequests, http.StatusTooManyRequests):       false,
		status(metav1.StatusReasonInternalError, http.StatusInternalServerError):     false,
		status(metav1.StatusReasonServiceUnavailable, http.StatusServiceUnavailable): false,
		errors.New("connection refused"):                                             false,
		nil:                                                                          false,
	} {
		if isRefusal(err) != want {
			t.Errorf("%v: refusal %t, want %t", err, !want, want)
		}
	}
}

// A refused session is tried again after a pause that grows to minutes; a failed one after seconds.
func TestRefusedSessionsWaitLonger(t *testing.T) {
	q := newQueue(func(key) bool { return true })
	defer q.ShutDown()
	k := key{"shop", "a", "web"}
	for range 20 {
		q.refusals.When(k)
	}
	if wait := q.refusals.When(k); wait != longestRefused {
		t.Errorf("refused 20 times: waits %s, want %s", wait, longestRefused)
	}
	q.Add(k)
	q.Add(key{"shop", "b", "api"})
	if first, _ := q.Get(); first.id != "b" {
		t.Errorf("%s, which was refused, comes before others", first.id)
	}
	q.succeeded(k)
	if wait := q.refusals.When(k); wait != firstRetry {
		t.Errorf("after a success: waits %s, want %s", wait, firstRetry)
	}
}
