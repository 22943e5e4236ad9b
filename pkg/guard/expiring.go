package guard

import (
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// expiring is a watch that tells, after a time, that what it knows is too old: the
// informer behind it lists again, which brings back what an event that was lost would
// have told. Up to half as much again is added, so that not all list at once.
func expiring(w watch.Interface, after time.Duration) watch.Interface {
	e := &expiringWatch{Interface: w, events: make(chan watch.Event), stopped: make(chan struct{})}
	go e.run(after + rand.N(after/2+1))
	return e
}

type expiringWatch struct {
	watch.Interface
	events  chan watch.Event
	stopped chan struct{}
	stop    sync.Once
}

func (e *expiringWatch) ResultChan() <-chan watch.Event { return e.events }

// Stop ends the watch, and run with it.
func (e *expiringWatch) Stop() {
	e.stop.Do(func() { close(e.stopped) })
	e.Interface.Stop()
}

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
