package probe_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	routev1 "github.com/openshift/api/route/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osc-debug/osc-debug/pkg/route"
	"github.com/osc-debug/osc-debug/pkg/route/probe"
)

var endpoint = route.Endpoint{Service: "osc-debug-bcdfghjk", Pod: "osc-debug-bcdfghjk-a", PortName: "http", IP: "10.0.0.7", Port: 8080}

func webRoute() *routev1.Route {
	return &routev1.Route{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"},
		Spec:       routev1.RouteSpec{Host: "web.example.com"},
	}
}

// router stands in for the cluster's router. It gives every request that it gets to answer, and
// returns its address and the requests so far.
func router(t *testing.T, start func(http.Handler) *httptest.Server, answer http.HandlerFunc) (address string, requests func() []*http.Request) {
	t.Helper()
	got := make(chan *http.Request, 10)
	server := start(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got <- r
		answer(w, r)
	}))
	t.Cleanup(server.Close)
	return server.Listener.Addr().String(), func() (out []*http.Request) {
		for len(got) > 0 {
			out = append(out, <-got)
		}
		return out
	}
}

func ok(http.ResponseWriter, *http.Request) {}

// only returns the one request that was sent.
func only(t *testing.T, requests []*http.Request) *http.Request {
	t.Helper()
	if len(requests) != 1 {
		t.Fatalf("%d requests, want 1", len(requests))
	}
	return requests[0]
}

// A plain probe asks as a new client does, without a cookie, and reports the server that the router
// chose for it.
func TestAPlainProbeIsANewClient(t *testing.T) {
	r := webRoute()
	address, requests := router(t, httptest.NewServer, func(w http.ResponseWriter, _ *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "basket", Value: "7"}) // the application's own
		http.SetCookie(w, &http.Cookie{Name: route.CookieName(r), Value: endpoint.Cookie()})
		w.WriteHeader(http.StatusTeapot)
		_, _ = w.Write([]byte("short and stout"))
	})
	p := probe.New(r, address)
	for range 2 { // a cookie of the first answer must not go into the second request
		answer, err := p.Plain(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if answer.Status != http.StatusTeapot || answer.Cookie != endpoint.Cookie() || answer.Body != "short and stout" {
			t.Errorf("answer %+v", answer)
		}
		if request := only(t, requests()); request.Method != http.MethodGet || len(request.Cookies()) != 0 {
			t.Errorf("%s with cookies %v, want GET without any", request.Method, request.Cookies())
		}
	}
}

// A pinned probe names its server by the router's cookie, under the name that the Route has for it.
func TestAPinnedProbeSendsTheServersCookie(t *testing.T) {
	renamed := webRoute()
	renamed.Annotations = map[string]string{"router.openshift.io/cookie_name": "mine"}
	for name, r := range map[string]*routev1.Route{"the router's name": webRoute(), "an annotation's name": renamed} {
		t.Run(name, func(t *testing.T) {
			address, requests := router(t, httptest.NewServer, ok)
			if _, _, err := probe.New(r, address).Pinned(t.Context(), endpoint); err != nil {
				t.Fatal(err)
			}
			cookies := only(t, requests()).Cookies()
			if len(cookies) != 1 || cookies[0].Name != route.CookieName(r) || cookies[0].Value != endpoint.Cookie() {
				t.Errorf("cookies %v, want %s=%s", cookies, route.CookieName(r), endpoint.Cookie())
			}
		})
	}
}

// An answer without the router's cookie is that of the server in the request's cookie, unless it is the
// router's own 503. With the cookie, it is that of the server in the answer's cookie.
func TestWhetherAServerWasReached(t *testing.T) {
	other := endpoint
	other.IP = "10.0.0.8"
	for _, c := range []struct {
		name   string
		status int
		cookie string // that the router sets
		want   bool
	}{
		{"no cookie", http.StatusOK, "", true},
		{"no cookie, not found", http.StatusNotFound, "", true},
		{"no cookie, server error", http.StatusInternalServerError, "", true},
		{"no cookie, unavailable", http.StatusServiceUnavailable, "", false},
		{"its own cookie", http.StatusOK, endpoint.Cookie(), true},
		{"its own cookie, unavailable", http.StatusServiceUnavailable, endpoint.Cookie(), true},
		{"another server's cookie", http.StatusOK, other.Cookie(), false},
		{"another server's cookie, unavailable", http.StatusServiceUnavailable, other.Cookie(), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := webRoute()
			address, _ := router(t, httptest.NewServer, func(w http.ResponseWriter, _ *http.Request) {
				http.SetCookie(w, &http.Cookie{Name: "basket", Value: "7"})
				if c.cookie != "" {
					http.SetCookie(w, &http.Cookie{Name: route.CookieName(r), Value: c.cookie})
				}
				w.WriteHeader(c.status)
			})
			answer, reached, err := probe.New(r, address).Pinned(t.Context(), endpoint)
			if err != nil {
				t.Fatal(err)
			}
			if reached != c.want || answer.Status != c.status || answer.Cookie != c.cookie {
				t.Errorf("reached: %v, answer %+v, want reached: %v", reached, answer, c.want)
			}
		})
	}
}

// A router that does not answer is an error, and no server was reached.
func TestARouterThatDoesNotAnswer(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(ok))
	address := server.Listener.Addr().String()
	server.Close()
	p := probe.New(webRoute(), address)
	if answer, err := p.Plain(t.Context()); err == nil || answer.OK() {
		t.Errorf("plain: %+v, want an error", answer)
	}
	if answer, reached, err := p.Pinned(t.Context(), endpoint); err == nil || reached {
		t.Errorf("pinned: %+v, reached: %v, want an error", answer, reached)
	}
}

// A redirect is an answer: the probe does not follow it to another Route.
func TestRedirectsAreNotFollowed(t *testing.T) {
	address, requests := router(t, httptest.NewServer, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://other.example.com/", http.StatusFound)
	})
	answer, err := probe.New(webRoute(), address).Plain(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if answer.Status != http.StatusFound || !answer.OK() {
		t.Errorf("answer %+v, want the redirect", answer)
	}
	only(t, requests())
}

// A probe asks for the Route's host and path, wherever the router is.
func TestAProbeAsksForHostAndPathOfTheRoute(t *testing.T) {
	for _, c := range []struct{ name, host, path, want string }{
		{"host alone", "web.example.com", "", "/"},
		{"host and path", "web.example.com", "/shop/cart", "/shop/cart"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := webRoute()
			r.Spec.Host, r.Spec.Path = c.host, c.path
			address, requests := router(t, httptest.NewServer, ok)
			if _, err := probe.New(r, address).Plain(t.Context()); err != nil {
				t.Fatal(err)
			}
			if request := only(t, requests()); request.Host != c.host || request.URL.Path != c.want {
				t.Errorf("asked for %s%s, want %s%s", request.Host, request.URL.Path, c.host, c.want)
			}
		})
	}
}

// A wildcard Route serves all hosts of its domain. The probe asks for one that is not the Route's own,
// which another Route may have.
func TestAProbeOfAWildcardRoute(t *testing.T) {
	r := webRoute()
	r.Spec.Host, r.Spec.WildcardPolicy = "www.apps.example.com", routev1.WildcardPolicySubdomain
	address, requests := router(t, httptest.NewServer, ok)
	if _, err := probe.New(r, address).Plain(t.Context()); err != nil {
		t.Fatal(err)
	}
	first, domain, _ := strings.Cut(only(t, requests()).Host, ".")
	if first == "" || first == "www" || domain != "apps.example.com" {
		t.Errorf("asked for host %s.%s, want another one in apps.example.com", first, domain)
	}
}

// A Route with TLS is asked by HTTPS for its host, whatever certificate the router has.
func TestAProbeOfATLSRoute(t *testing.T) {
	for _, termination := range []routev1.TLSTerminationType{routev1.TLSTerminationEdge, routev1.TLSTerminationReencrypt, routev1.TLSTerminationPassthrough} {
		t.Run(string(termination), func(t *testing.T) {
			r := webRoute()
			r.Spec.TLS = &routev1.TLSConfig{Termination: termination}
			address, requests := router(t, httptest.NewTLSServer, ok)
			answer, err := probe.New(r, address).Plain(t.Context())
			if err != nil || answer.Status != http.StatusOK {
				t.Fatalf("answer %+v, %v", answer, err)
			}
			if request := only(t, requests()); request.TLS == nil || request.TLS.ServerName != "web.example.com" || request.Host != "web.example.com" {
				t.Errorf("host %s, TLS %+v, want both for web.example.com", request.Host, request.TLS)
			}
		})
	}
}

// Of a long answer only the beginning is kept.
func TestLongAnswersAreCut(t *testing.T) {
	whole := strings.Repeat("0123456789abcdef", 64<<10)
	address, _ := router(t, httptest.NewServer, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(whole)) })
	answer, err := probe.New(webRoute(), address).Plain(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if n := len(answer.Body); n == 0 || n >= len(whole) || !strings.HasPrefix(whole, answer.Body) {
		t.Errorf("%d of %d bytes are kept", n, len(whole))
	}
}

// An answer is good if an application gave it and it is no server error.
func TestGoodAnswers(t *testing.T) {
	for status, want := range map[int]bool{0: false, 200: true, 302: true, 404: true, 499: true, 500: false, 503: false} {
		if got := (probe.Answer{Status: status}).OK(); got != want {
			t.Errorf("%d is good: %v, want %v", status, got, want)
		}
	}
}

// A probe is named by its URL, and by the router if one was given.
func TestTheNameOfAProbe(t *testing.T) {
	r := webRoute()
	r.Spec.Path = "/shop"
	if got, want := probe.New(r, "").String(), "http://web.example.com/shop"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	r.Spec.TLS = &routev1.TLSConfig{Termination: routev1.TLSTerminationEdge}
	if got := probe.New(r, "10.0.0.1:8443").String(); !strings.Contains(got, "https://web.example.com/shop") || !strings.Contains(got, "10.0.0.1:8443") {
		t.Errorf("%q does not name URL and router", got)
	}
}
