package guard

import (
	"fmt"
	"testing"
)

// A namespace with too many sessions gets no memory for more, until some are forgotten. Other namespaces,
// and sessions that have memory, are not affected.
func TestTheMemoryOfANamespaceIsLimited(t *testing.T) {
	m := &memories{}
	id := func(namespace string, n int) key { return key{namespace: namespace, id: fmt.Sprint(n), route: "web"} }
	for n := range 5 {
		if got := m.within(id("mallory", n), 3); (got != nil) != (n < 3) {
			t.Errorf("session %d of 3: memory %t", n, got != nil)
		}
	}
	if m.within(id("mallory", 0), 3) == nil || m.within(id("shop", 0), 3) == nil {
		t.Error("a session with memory, or of another namespace, gets none")
	}
	if m.of(id("mallory", 9)) == nil || m.within(id("mallory", 9), 3) == nil {
		t.Error("a session on a Route gets no memory")
	}
	for n := range 10 { // most have none
		m.forget(id("mallory", n))
	}
	if m.within(id("mallory", 4), 1) == nil {
		t.Error("after the others were forgotten, a session gets no memory")
	}
	m.forgetAll()
	if len(m.all) != 0 || len(m.perNamespace) != 0 {
		t.Errorf("left %v, %v", m.all, m.perNamespace)
	}
	k := id("shop", 1)
	if m.wasOnRoute(k) {
		t.Error("a session without memory was on its Route")
	}
	m.of(k).onRoute.Store(true)
	if !m.wasOnRoute(k) {
		t.Error("a session that was on its Route was not")
	}
}
