package guard

import (
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// newExpiringWatch wraps a watch and sends the error 410 (Expired) after a time. The informer then lists
// again, which makes up for events that were lost. The time is extended by up to half, at random, so
// that the informers do not all list at once.
func newExpiringWatch(w watch.Interface, after time.Duration) watch.Interface {
	e := &expiringWatch{Interface: w, events: make(chan watch.Event), stopped: make(chan struct{})}
	go e.run(after + rand.N(after/2+1))
	return e
}

// expiringWatch is the watch that newExpiringWatch returns.
type expiringWatch struct {
	watch.Interface
	events  chan watch.Event
	stopped chan struct{}
	stop    sync.Once
}

// ResultChan returns the channel of the events. It is closed when the watch ends.
func (e *expiringWatch) ResultChan() <-chan watch.Event { return e.events }

// Stop ends the watch and its goroutine.
func (e *expiringWatch) Stop() {
	e.stop.Do(func() { close(e.stopped) })
	e.Interface.Stop()
}

// run passes events on until the watch ends, and sends the error after a time.
func (e *expiringWatch) run(after time.Duration) {
	defer close(e.events)
	timer := time.NewTimer(after)
	defer timer.Stop()
	for {
		event, ok := watch.Event{}, true
		select {
		case <-e.stopped:
			return
		case event, ok = <-e.Interface.ResultChan():
		case <-timer.C:
			event = watch.Event{Type: watch.Error, Object: &metav1.Status{Status: metav1.StatusFailure, Code: http.StatusGone, Reason: metav1.StatusReasonExpired, Message: "listing again"}}
		}
		if !ok {
			return
		}
		select {
		case <-e.stopped:
			return
		case e.events <- event:
		}
	}
}
