package store_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	routev1 "github.com/openshift/api/route/v1"
	routeclient "github.com/openshift/client-go/route/clientset/versioned"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/session/record"
	"github.com/osc-debug/osc-debug/pkg/session/store"
	"github.com/osc-debug/osc-debug/test/canned"
)

const (
	id    = "bcdfghjk"
	other = "zxwvtsrq" // another session's ID

	routePath = "/apis/route.openshift.io/v1/namespaces/shop/routes/web"
	services  = "/api/v1/namespaces/shop/services"
	pods      = "/api/v1/namespaces/shop/pods"
)

// plainRoute is Route web, without a session.
func plainRoute() *routev1.Route {
	weight := int32(100)
	return &routev1.Route{
		TypeMeta:   metav1.TypeMeta{APIVersion: "route.openshift.io/v1", Kind: "Route"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "route-uid", ResourceVersion: "7"},
		Spec:       routev1.RouteSpec{To: routev1.RouteTargetReference{Kind: "Service", Name: "web", Weight: &weight}},
	}
}

// routeOf is Route web with a live session.
func routeOf(t *testing.T, session string) *routev1.Route {
	t.Helper()
	r := plainRoute()
	j := &record.Journal{Version: record.JournalVersion, Session: session, State: record.Arming, RouteUID: "route-uid", Asked: 50, ArmBy: metav1.Now()}
	for _, change := range []record.Change{
		record.ArmRoute(j, r),
		func(r *routev1.Route) error {
			j.State, j.Expires = record.Live, metav1.NewTime(time.Now().Add(time.Hour))
			return record.ShiftRoute(j, map[string]int32{"web": 64, record.ServiceName(session): 128}, false)(r)
		},
	} {
		if err := change(r); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// endingOf is the ending of session id on Route web, of an API server that gives these answers. It notes the steps.
func endingOf(t *testing.T, config *rest.Config) (*store.Ending, *[]string) {
	t.Helper()
	routes, err := routeclient.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	core, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	var steps []string
	return &store.Ending{Store: store.Store{Routes: routes, Core: core}, Namespace: "shop", Route: "web", ID: id,
		Step: func(name, detail string) { steps = append(steps, name+": "+detail) }}, &steps
}

// withoutSandbox are the answers of an API server that has Route web and no sandbox.
func withoutSandbox(r *routev1.Route) canned.Answers {
	return canned.Answers{
		"GET " + routePath: r, "PATCH " + routePath: r,
		"GET " + services: corev1.ServiceList{}, "GET " + pods: corev1.PodList{},
	}
}

// Someone removed the session's marks, and the Route has another session. The sandbox is deleted, unless the Route
// still sends users to it.
func TestAnEndingMeetsAnotherSession(t *testing.T) {
	clean := routeOf(t, other)
	used := clean.DeepCopy()
	used.Spec.AlternateBackends = append(used.Spec.AlternateBackends, routev1.RouteTargetReference{Kind: "Service", Name: record.ServiceName(id), Weight: new(int32)})
	gone := withoutSandbox(clean)
	for name, c := range map[string]struct {
		answers canned.Answers
		want    reason.Code
		deletes bool
	}{
		"without our backend": {withoutSandbox(clean), "", true},
		"with our backend":    {withoutSandbox(used), reason.BackendLeftBehind, false},
	} {
		t.Run(name, func(t *testing.T) {
			e, steps := endingOf(t, c.answers.Serve(t))
			out, err := e.Run(t.Context())
			if c.want == "" && (err != nil || !out.Foreign) || c.want != "" && !reason.Is(err, c.want) {
				t.Errorf("outcome %+v, error %v, want %q", out, err, c.want)
			}
			if deletes := len(*steps) == 2 && strings.HasPrefix((*steps)[1], store.StepDelete); deletes != c.deletes {
				t.Errorf("steps %q", *steps)
			}
		})
	}
	// The API server rejects the second read of the Route.
	reads := 0
	config := serve(t, gone, func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != routePath {
			return false
		}
		reads++
		if reads > 1 {
			http.Error(w, "{}", http.StatusForbidden)
		}
		return reads > 1
	})
	e, _ := endingOf(t, config)
	if _, err := e.Run(t.Context()); !apierrors.IsForbidden(err) {
		t.Errorf("error %v", err)
	}
}

// serve serves answers, but for the requests that first takes.
func serve(t *testing.T, answers canned.Answers, first func(w http.ResponseWriter, r *http.Request) bool) *rest.Config {
	t.Helper()
	behind := answers.Serve(t)
	var mu sync.Mutex
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		taken := first(w, r)
		mu.Unlock()
		if !taken {
			http.Redirect(w, r, behind.Host+r.URL.RequestURI(), http.StatusTemporaryRedirect)
		}
	}))
	t.Cleanup(server.Close)
	return &rest.Config{Host: server.URL, QPS: -1}
}

// A router that still sends requests keeps the sandbox. Any other failure of the drain does not, unless the time is
// over.
func TestAnEndingsDrain(t *testing.T) {
	restored := plainRoute()
	for name, c := range map[string]struct {
		drain   func(cancel func()) error
		want    func(err error) bool
		deletes bool
	}{
		"drained": {func(func()) error { return nil }, func(err error) bool { return err == nil }, true},
		"a router still sends requests": {func(func()) error { return &store.StillReached{Pod: "osc-debug-" + id + "-a"} }, func(err error) bool {
			left := (*store.Leftovers)(nil)
			return errors.As(err, &left) && slices.Equal(left.Objects, []string{"pod/osc-debug-" + id + "-a", "service/osc-debug-" + id}) &&
				reason.Is(err, reason.ObjectsLeftBehind) && strings.Contains(left.Err.Error(), "osc-debug-"+id+"-a")
		}, false},
		"the router cannot be asked": {func(func()) error { return errors.New("refused") }, func(err error) bool { return err == nil }, true},
		"the time is over":           {func(cancel func()) error { cancel(); return context.Canceled }, func(err error) bool { return errors.Is(err, context.Canceled) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			e, steps := endingOf(t, withoutSandbox(restored).Serve(t))
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			e.Drain = func(context.Context, time.Duration) error { return c.drain(cancel) }
			if _, err := e.Run(ctx); !c.want(err) {
				t.Errorf("error %v", err)
			}
			if deletes := slices.ContainsFunc(*steps, func(s string) bool { return strings.HasPrefix(s, store.StepDelete+":") }); deletes != c.deletes {
				t.Errorf("steps %q", *steps)
			}
		})
	}
}

// A step is repeated while the API server is only unavailable, and the ending says so once.
func TestAnEndingRetriesWhileTheAPIServerIsAway(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		tries  int
		ends   bool
	}{
		"unavailable":       {http.StatusServiceUnavailable, 7, true},
		"too many requests": {http.StatusTooManyRequests, 7, true},
		"forbidden":         {http.StatusForbidden, 7, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			reads := 0
			e, steps := endingOf(t, serve(t, withoutSandbox(plainRoute()), func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path != routePath || r.Method != http.MethodGet {
					return false
				}
				if reads++; reads <= c.tries {
					http.Error(w, "{}", c.status)
				}
				return reads <= c.tries
			}))
			_, err := e.Run(t.Context())
			told := 0
			for _, s := range *steps {
				if strings.Contains(s, "failed, retrying") {
					told++
				}
			}
			if c.ends && (err != nil || told != 1) || !c.ends && (!apierrors.IsForbidden(err) || told != 0) {
				t.Errorf("error %v after %d reads, told %d times: %q", err, reads, told, *steps)
			}
		})
	}
}

// No name that is no session's ID is used to find what to delete.
func TestATeardownNeedsASessionsID(t *testing.T) {
	e, _ := endingOf(t, canned.Answers{}.Serve(t))
	if err := e.Teardown(t.Context(), "shop", "web", "a,b"); !reason.Is(err, reason.SessionIDInvalid) {
		t.Errorf("error %v", err)
	}
	if err := e.Teardown(t.Context(), "shop", "web", id); !reason.Is(err, reason.ObjectsLeftBehind) {
		t.Errorf("without an answer of the API server: %v", err)
	}
}
