//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
)

// changes wakes tests when something changes in their namespace: an object of a watched kind or
// the output of a command. Tests therefore need not poll the API server.
type changes struct {
	mu   sync.Mutex
	next map[string]chan struct{} // by namespace; closed at its next change
}

// changed serves all tests of the binary with one watch per kind.
var changed = &changes{next: map[string]chan struct{}{}}

// nextChange returns a channel that is closed at the namespace's next change.
func (c *changes) nextChange(namespace string) <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.next[namespace] == nil {
		c.next[namespace] = make(chan struct{})
	}
	return c.next[namespace]
}

func (c *changes) notify(namespace string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if next := c.next[namespace]; next != nil {
		close(next)
		delete(c.next, namespace)
	}
}

func (c *changes) notifyAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for namespace, next := range c.next {
		close(next)
		delete(c.next, namespace)
	}
}

// watchedKinds are the resources that tests wait for.
var watchedKinds = []schema.GroupVersionResource{
	{Group: "route.openshift.io", Version: "v1", Resource: "routes"},
	{Version: "v1", Resource: "pods"}, {Version: "v1", Resource: "services"}, {Version: "v1", Resource: "events"},
	{Version: "v1", Resource: "configmaps"}, {Version: "v1", Resource: "serviceaccounts"}, {Version: "v1", Resource: "resourcequotas"},
	{Group: "discovery.k8s.io", Version: "v1", Resource: "endpointslices"},
	{Group: "policy", Version: "v1", Resource: "poddisruptionbudgets"},
	{Group: "networking.k8s.io", Version: "v1", Resource: "networkpolicies"},
	{Group: "coordination.k8s.io", Version: "v1", Resource: "leases"},
}

// watch watches all kinds until the test binary ends.
func (c *changes) watch(config *rest.Config) error {
	client, err := metadata.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("create a client to watch for changes: %w", err)
	}
	for _, kind := range watchedKinds {
		go func() {
			for {
				w, err := client.Resource(kind).Watch(context.Background(), metav1.ListOptions{ResourceVersion: "0"})
				if err != nil {
					time.Sleep(100 * time.Millisecond)
					continue
				}
				for event := range w.ResultChan() {
					if m, ok := event.Object.(*metav1.PartialObjectMetadata); ok {
						c.notify(m.Namespace)
					}
				}
				c.notifyAll() // changes since the watch ended are lost, so all tests check again
			}
		}()
	}
	return nil
}

// A condition is checked again when something changes, but changes within settleTime cause only
// one check. A condition that depends on something unwatched is checked every pollInterval.
const (
	settleTime   = 50 * time.Millisecond
	pollInterval = time.Second
)

// waitUntil waits until a condition holds and returns true. It returns false when wait is over or
// the test ends.
func waitUntil(t *testing.T, namespace string, wait, pause time.Duration, what string, holds func() bool) bool {
	t.Helper()
	end := time.NewTimer(wait)
	defer end.Stop()
	for {
		next := changed.nextChange(namespace)
		if holds() {
			return true
		}
		select {
		case <-end.C:
			return false
		case <-t.Context().Done():
			return false
		case <-next:
			time.Sleep(settleTime)
		case <-time.After(pause):
		}
	}
}
