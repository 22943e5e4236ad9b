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

// changes wakes tests when something changes in their namespace: an object of a watched kind, or
// the output of a command. Nobody asks the API server again and again for what it will tell.
type changes struct {
	mu   sync.Mutex
	next map[string]chan struct{} // by namespace, closed at its next change
}

// changed is of the whole test binary: one watch of each kind serves all tests.
var changed = &changes{next: map[string]chan struct{}{}}

// in is closed at the namespace's next change.
func (c *changes) in(namespace string) <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.next[namespace] == nil {
		c.next[namespace] = make(chan struct{})
	}
	return c.next[namespace]
}

func (c *changes) tell(namespace string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if next := c.next[namespace]; next != nil {
		close(next)
		delete(c.next, namespace)
	}
}

func (c *changes) tellAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for namespace, next := range c.next {
		close(next)
		delete(c.next, namespace)
	}
}

// watchedKinds are what tests wait for.
var watchedKinds = []schema.GroupVersionResource{
	{Group: "route.openshift.io", Version: "v1", Resource: "routes"},
	{Version: "v1", Resource: "pods"}, {Version: "v1", Resource: "services"}, {Version: "v1", Resource: "events"},
	{Version: "v1", Resource: "configmaps"}, {Version: "v1", Resource: "serviceaccounts"}, {Version: "v1", Resource: "resourcequotas"},
	{Group: "discovery.k8s.io", Version: "v1", Resource: "endpointslices"},
	{Group: "policy", Version: "v1", Resource: "poddisruptionbudgets"},
	{Group: "networking.k8s.io", Version: "v1", Resource: "networkpolicies"},
	{Group: "coordination.k8s.io", Version: "v1", Resource: "leases"},
}

// watch follows the kinds until the test binary ends.
func (c *changes) watch(config *rest.Config) error {
	client, err := metadata.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("watch for changes: %w", err)
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
						c.tell(m.Namespace)
					}
				}
				c.tellAll() // what was missed is gone
			}
		}()
	}
	return nil
}

// A condition is looked at again when something changes, but not more often than lull: what
// changes together is looked at once. What no watch tells of is looked at each unwatched.
const (
	lull      = 50 * time.Millisecond
	unwatched = time.Second
)

// await returns when a condition holds; it fails the test only to end a hang.
func await(t *testing.T, namespace string, wait, pause time.Duration, what string, holds func() bool) bool {
	t.Helper()
	end := time.NewTimer(wait)
	defer end.Stop()
	for {
		next := changed.in(namespace)
		if holds() {
			return true
		}
		select {
		case <-end.C:
			return false
		case <-t.Context().Done():
			return false
		case <-next:
			time.Sleep(lull)
		case <-time.After(pause):
		}
	}
}
