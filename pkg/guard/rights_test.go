package guard

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/osc-debug/osc-debug/pkg/kube"
	"github.com/osc-debug/osc-debug/pkg/session/store"
)

// A guard whose lists are forbidden in a namespace starts again without that namespace. It does not wait until
// the pause after a forbidden write is over: until then, it would end no session anywhere.
func TestAForbiddenListIsCheckedAtOnce(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if strings.HasSuffix(r.URL.Path, "/selfsubjectaccessreviews") {
			w.WriteHeader(http.StatusCreated)
			_, _ = w.Write([]byte(`{"kind":"SelfSubjectAccessReview","apiVersion":"authorization.k8s.io/v1","status":{"allowed":false}}`))
			return
		}
		w.WriteHeader(http.StatusForbidden)
		_, _ = w.Write([]byte(`{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","code":403}`))
	}))
	defer server.Close()
	core, routes, err := kube.Clients(&rest.Config{Host: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel(nil)
	g := &Guard{Urgent: store.Store{Core: core, Routes: routes}, Clock: &kube.Clock{}, Relist: time.Hour, Log: slog.New(slog.DiscardHandler), Metrics: NewMetrics(), rights: &rightsCache{}, restart: cancel, pool: newPool(ctx)}
	defer g.pool.clear()
	g.Settings.Namespaces = []string{"shop"}
	g.rights.set("shop", true)
	asked := g.Clock.Now()
	if !g.rights.isDue("shop", asked) {
		t.Fatal("the first check after a forbidden write is not due")
	}
	if err := g.Watch(ctx, running.Go); !errors.Is(err, errRestart) {
		t.Errorf("Watch ended with %v", err)
	}
	if g.rights.isAllowed("shop") {
		t.Error("the next guard would watch the namespace again")
	}
	if !g.rights.asked["shop"].Equal(asked) {
		t.Error("Watch waited until the pause was over")
	}
}
