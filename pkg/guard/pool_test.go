package guard

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/osc-debug/osc-debug/pkg/kube"
	"github.com/osc-debug/osc-debug/pkg/session/store"
)

// When one namespace is added or removed, the next Guard reads only what is new. The caches of the others go on, and
// report to the next Guard. After pool.clear, everything is read again.
func TestTheNextGuardKeepsTheCachesOfOtherNamespaces(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	lists := map[string]int{} // by namespace
	watching := map[string]int{}
	count := func(counts map[string]int, path string, by int) {
		mu.Lock()
		defer mu.Unlock()
		_, rest, _ := strings.Cut(path, "/namespaces/")
		namespace, _, _ := strings.Cut(rest, "/")
		counts[namespace] += by
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch {
		case r.URL.Query().Get("sendInitialEvents") != "": // as an API server that cannot stream lists
			w.WriteHeader(http.StatusUnprocessableEntity)
			_, _ = w.Write([]byte(`{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Invalid","code":422}`))
		case r.URL.Query().Get("watch") != "":
			count(watching, r.URL.Path, 1)
			defer count(watching, r.URL.Path, -1)
			w.WriteHeader(http.StatusOK)
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		default:
			count(lists, r.URL.Path, 1)
			list := map[string]string{"routes": "route.openshift.io/v1 RouteList", "services": "v1 ServiceList", "endpointslices": "discovery.k8s.io/v1 EndpointSliceList", "pods": "v1 PodList"}
			version, kind, _ := strings.Cut(list[path.Base(r.URL.Path)], " ")
			_, _ = fmt.Fprintf(w, `{"apiVersion":%q,"kind":%q,"metadata":{"resourceVersion":"1"},"items":[]}`, version, kind)
		}
	}))
	defer server.Close()
	core, routes, err := kube.Clients(&rest.Config{Host: server.URL, QPS: -1})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	pool := newPool(ctx)
	defer pool.clear()
	watch := func(namespaces ...string) *Guard {
		t.Helper()
		g := &Guard{Urgent: store.Store{Core: core, Routes: routes}, Clock: &kube.Clock{}, Relist: time.Hour, Log: slog.New(slog.DiscardHandler), Metrics: NewMetrics(), rights: &rightsCache{}, pool: pool}
		g.Settings.Namespaces = namespaces
		if err := g.Watch(ctx, nil); err != nil {
			t.Fatal(err)
		}
		return g
	}
	check := func(when, namespace string, want int) {
		t.Helper()
		mu.Lock()
		defer mu.Unlock()
		if lists[namespace] != want {
			t.Errorf("%s: %d lists in namespace %s, want %d", when, lists[namespace], namespace, want)
		}
	}
	const kinds = 4 // Routes, Services, EndpointSlices, pods
	first := watch("a", "b")
	second := watch("b", "c")
	check("b, c after a, b", "a", kinds)
	check("b, c after a, b", "b", kinds)
	check("b, c after a, b", "c", kinds)
	if first.caches["b"] != second.caches["b"] || second.caches["a"] != nil || pool.guard.Load() != second {
		t.Error("the second guard has not taken over the caches of namespace b alone")
	}
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		mu.Lock()
		left := watching["a"]
		mu.Unlock()
		if left == 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d watches of namespace a go on", left)
		}
	}
	watch("a", "b")
	check("a again", "a", 2*kinds)
	check("a again", "b", kinds)
	pool.clear()
	watch("b")
	check("after clear", "b", 2*kinds)
}
