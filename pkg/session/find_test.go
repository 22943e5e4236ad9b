package session_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	routev1 "github.com/openshift/api/route/v1"
	routeclient "github.com/openshift/client-go/route/clientset/versioned"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/session"
	"github.com/osc-debug/osc-debug/pkg/session/record"
	"github.com/osc-debug/osc-debug/pkg/session/store"
	"github.com/osc-debug/osc-debug/test/canned"
)

// finderOf looks for sessions in namespace shop of an API server that has some Routes.
func finderOf(t *testing.T, routes ...*routev1.Route) session.Finder {
	t.Helper()
	const path = "GET /apis/route.openshift.io/v1/namespaces/shop/routes"
	list := routev1.RouteList{TypeMeta: metav1.TypeMeta{APIVersion: "route.openshift.io/v1", Kind: "RouteList"}}
	answers := canned.Answers{}
	for _, route := range routes {
		list.Items = append(list.Items, *route)
		answers[path+"/"+route.Name] = route
	}
	answers[path] = list
	client, err := routeclient.NewForConfig(answers.Serve(t))
	if err != nil {
		t.Fatal(err)
	}
	return session.Finder{Store: store.Store{Routes: client}, Namespace: "shop"}
}

// Only a session that is live or held, with a journal that can be read, can be changed.
func TestOnlyALiveOrHeldSessionRuns(t *testing.T) {
	broken := routeIn(t, "broken", id, record.Live)
	broken.Annotations[record.JournalKey] = "{"
	for name, c := range map[string]struct {
		route *routev1.Route
		want  reason.Code
	}{
		"no session":     {plainRoute("web"), reason.NoSessionOnRoute},
		"arming":         {routeIn(t, "web", id, record.Arming), reason.SessionStillArming},
		"live":           {routeIn(t, "web", id, record.Live), ""},
		"held":           {routeIn(t, "web", id, record.Held), ""},
		"draining":       {routeIn(t, "web", id, record.Draining), reason.SessionEnding},
		"broken journal": {broken, reason.JournalMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			found, err := finderOf(t, c.route).Running(t.Context(), c.route.Name, "")
			if reason.CodeOf(err) != c.want || (err == nil) != (c.want == "") {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if found.Route == nil || found.Route.Name != c.route.Name {
				t.Fatalf("found %+v, want route %s", found, c.route.Name)
			}
			if none := found.Session == nil; none != (c.want == reason.NoSessionOnRoute) {
				t.Errorf("found session %+v", found.Session)
			}
		})
	}
}

// None is the error of a Route without a session, and names the Route.
func TestARouteWithoutASession(t *testing.T) {
	err := session.Found{Route: plainRoute("web")}.None()
	if reason.CodeOf(err) != reason.NoSessionOnRoute || !strings.Contains(err.Error(), "shop/web") {
		t.Errorf("got %v, want %s of shop/web", err, reason.NoSessionOnRoute)
	}
}

// The user names a session by its Route or its ID, or not at all if it is the only one.
func TestWhichSessionIsMeant(t *testing.T) {
	none := plainRoute("plain")
	one, two := routeIn(t, "one", id, record.Live), routeIn(t, "two", other, record.Held)
	for _, c := range []struct {
		name      string
		routes    []*routev1.Route
		route, id string
		want      string // Route
		code      reason.Code
	}{
		{"the only one", []*routev1.Route{none, one}, "", "", "one", ""},
		{"by Route", []*routev1.Route{none, one, two}, "two", "", "two", ""},
		{"by ID", []*routev1.Route{none, one, two}, "", other, "two", ""},
		{"by Route and ID", []*routev1.Route{none, one, two}, "two", other, "two", ""},
		{"another session's ID", []*routev1.Route{none, one, two}, "two", id, "", reason.OtherSessionOnRoute},
		{"an unknown ID", []*routev1.Route{none, one}, "", other, "", reason.NoSuchSession},
		{"several", []*routev1.Route{none, one, two}, "", "", "", reason.SeveralSessions},
		{"none", []*routev1.Route{none}, "", "", "", reason.NoSession},
	} {
		t.Run(c.name, func(t *testing.T) {
			found, err := finderOf(t, c.routes...).Which(t.Context(), c.route, c.id)
			if c.code != "" {
				if reason.CodeOf(err) != c.code {
					t.Errorf("got %v, want %s", err, c.code)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if found.Route.Name != c.want || found.Session == nil {
				t.Errorf("got %+v on route %s, want the session on %s", found.Session, found.Route.Name, c.want)
			}
		})
	}
	if _, err := finderOf(t).Which(t.Context(), "missing", ""); err == nil {
		t.Error("a Route that does not exist is no error")
	}
}

// The sessions of a namespace are listed by Route, whichever of their marks is left.
func TestSessionsAreListedByRoute(t *testing.T) {
	unlabelled := routeIn(t, "b", id, record.Live)
	unlabelled.Labels = nil
	bare := routeIn(t, "c", other, record.Live)
	bare.Labels, bare.Annotations = nil, nil
	all, err := finderOf(t, bare, plainRoute("d"), unlabelled, routeIn(t, "a", other, record.Draining)).List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range all {
		got = append(got, f.Route.Name+" "+f.Session.ID)
	}
	if want := []string{"a " + other, "b " + id, "c " + other}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A session has the steps there before the steps back, each once.
func TestEachStepIsListedOnce(t *testing.T) {
	steps := session.Steps()
	want := []string{
		session.StepPreflight, session.StepArm, session.StepBuild, session.StepProve, session.StepShift, session.StepVerify, session.StepLive,
		store.StepRestore, store.StepDrain, store.StepDelete, store.StepClose,
	}
	if !slices.Equal(steps, want) {
		t.Errorf("steps %q, want %q", steps, want)
	}
	slices.Sort(steps)
	if len(slices.Compact(steps)) != len(want) {
		t.Errorf("a step is listed twice: %q", steps)
	}
}

// Without permission to read Routes, the error has a reason that says whom to ask for what, and is
// still known as a rejection. In all namespaces, no single role binding would help.
func TestForbiddenReadsSayWhomToAsk(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusForbidden)
		_ = json.NewEncoder(w).Encode(metav1.Status{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusFailure, Reason: metav1.StatusReasonForbidden, Code: http.StatusForbidden,
		})
	}))
	t.Cleanup(server.Close)
	routes, err := routeclient.NewForConfig(&rest.Config{Host: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	for namespace, want := range map[string]reason.Code{"shop": reason.SessionsForbidden, metav1.NamespaceAll: ""} {
		f := session.Finder{Store: store.Store{Routes: routes}, Namespace: namespace}
		_, err := f.List(t.Context())
		if reason.CodeOf(err) != want || !apierrors.IsForbidden(err) {
			t.Errorf("namespace %q: list: %v", namespace, err)
		}
		if want == "" {
			continue
		}
		if _, err := f.Which(t.Context(), "web", ""); reason.CodeOf(err) != want || !apierrors.IsForbidden(err) || !strings.Contains(reason.Of(err).FixFor(nil, nil), "-n shop") {
			t.Errorf("namespace %q: one Route: %v", namespace, err)
		}
	}
}
