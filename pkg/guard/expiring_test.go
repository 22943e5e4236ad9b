package guard

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/watch"
)

// The watch passes events on and then sends Expired. It ends when its source ends or when it is stopped.
func TestAnExpiringWatch(t *testing.T) {
	source := watch.NewFake()
	w := newExpiringWatch(source, time.Second)
	go source.Add(&corev1.Pod{})
	if event := <-w.ResultChan(); event.Type != watch.Added {
		t.Errorf("got %s", event.Type)
	}
	if event := <-w.ResultChan(); event.Type != watch.Error || !apierrors.IsResourceExpired(apierrors.FromObject(event.Object)) {
		t.Errorf("got %s %v", event.Type, event.Object)
	}
	w.Stop()
	if _, open := <-w.ResultChan(); open {
		t.Error("open after Stop")
	}
	source = watch.NewFake()
	w = newExpiringWatch(source, time.Hour)
	source.Stop()
	if _, open := <-w.ResultChan(); open {
		t.Error("open after its source has ended")
	}
	w.Stop()
}
