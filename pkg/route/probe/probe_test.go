package probe_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

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
	ours := endpoint.Cookies(r)[0]
	address, requests := router(t, httptest.NewServer, func(w http.ResponseWriter, _ *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "basket", Value: "7"}) // the application's own
		http.SetCookie(w, &http.Cookie{Name: route.CookieName(r), Value: ours})
		w.WriteHeader(http.StatusTeapot)
		_, _ = w.Write([]byte("short and stout"))
	})
	p := probe.New(r, r.Spec.Host, address)
	for range 2 { // a cookie of the first answer must not go into the second request
		answer, err := p.Plain(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if answer.Status != http.StatusTeapot || answer.Cookie != ours || answer.Body != "short and stout" {
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
			if _, _, err := probe.New(r, r.Spec.Host, address).Pinned(t.Context(), endpoint); err != nil {
				t.Fatal(err)
			}
			cookies := only(t, requests()).Cookies()
			want := endpoint.Cookies(r)
			if len(cookies) != 2 || cookies[0].Name != route.CookieName(r) || cookies[0].Value != want[0] || cookies[1].Name != route.CookieName(r) || cookies[1].Value != want[1] {
				t.Errorf("cookies %v, want %s=%s and the dynamic router's %s", cookies, route.CookieName(r), want[0], want[1])
			}
		})
	}
}

// An answer without the router's cookie is that of the server in the request's cookie, unless it is the
// router's own 503. With a cookie, it is that of the server in the answer's cookie. If the router removes the
// cookie, another server answered, which has none.
func TestWhetherAServerWasReached(t *testing.T) {
	other := endpoint
	other.IP = "10.0.0.8"
	values := endpoint.Cookies(webRoute())
	removed := &http.Cookie{Expires: time.Unix(0, 0)}
	set := func(value string) *http.Cookie { return &http.Cookie{Value: value} }
	for _, c := range []struct {
		name   string
		status int
		cookie *http.Cookie // that the router sets
		want   bool
	}{
		{"no cookie", http.StatusOK, nil, true},
		{"no cookie, not found", http.StatusNotFound, nil, true},
		{"no cookie, server error", http.StatusInternalServerError, nil, true},
		{"no cookie, unavailable", http.StatusServiceUnavailable, nil, false},
		{"its own cookie", http.StatusOK, set(values[0]), true},
		{"its own cookie of a dynamic router", http.StatusOK, set(values[1]), true},
		{"its own cookie, unavailable", http.StatusServiceUnavailable, set(values[0]), true},
		{"another server's cookie", http.StatusOK, set(other.Cookies(webRoute())[0]), false},
		{"another server's cookie of a dynamic router", http.StatusOK, set(other.Cookies(webRoute())[1]), false},
		{"another server's cookie, unavailable", http.StatusServiceUnavailable, set(other.Cookies(webRoute())[0]), false},
		{"the cookie removed", http.StatusOK, removed, false},
		{"the cookie emptied", http.StatusOK, set(""), false},
		{"its own cookie, expired", http.StatusOK, &http.Cookie{Value: values[0], MaxAge: -1}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := webRoute()
			address, _ := router(t, httptest.NewServer, func(w http.ResponseWriter, _ *http.Request) {
				http.SetCookie(w, &http.Cookie{Name: "basket", Value: "7"})
				if c.cookie != nil {
					c.cookie.Name = route.CookieName(r)
					http.SetCookie(w, c.cookie)
				}
				w.WriteHeader(c.status)
			})
			answer, reached, err := probe.New(r, r.Spec.Host, address).Pinned(t.Context(), endpoint)
			if err != nil {
				t.Fatal(err)
			}
			if reached != c.want || answer.Status != c.status {
				t.Errorf("reached: %v, answer %+v, want reached: %v", reached, answer, c.want)
			}
		})
	}
}

// Requests can be pinned where a plain answer carries the router's cookie, under whatever name.
func TestWhereRequestsCanBePinned(t *testing.T) {
	r := webRoute()
	values := endpoint.Cookies(r)
	for _, c := range []struct {
		name   string
		cookie *http.Cookie // of a plain answer
		pinned string       // name of the cookie in pinned requests; "" if there are none
	}{
		{"no cookie", nil, ""},
		{"the application's cookie", &http.Cookie{Name: "basket", Value: "7"}, ""},
		{"the router's cookie", &http.Cookie{Name: route.CookieName(r), Value: values[0]}, route.CookieName(r)},
		{"the router's cookie, of a server that is new", &http.Cookie{Name: route.CookieName(r), Value: "0123456789abcdef"}, route.CookieName(r)},
		{"another name", &http.Cookie{Name: "SERVERID", Value: values[0]}, "SERVERID"},
		{"another name at a dynamic router", &http.Cookie{Name: "SERVERID", Value: values[1]}, "SERVERID"},
		{"the router's cookie, empty", &http.Cookie{Name: route.CookieName(r)}, ""},
		{"the router's cookie, expired", &http.Cookie{Name: route.CookieName(r), Value: values[0], Expires: time.Unix(0, 0)}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			address, requests := router(t, httptest.NewServer, func(w http.ResponseWriter, _ *http.Request) {
				if c.cookie != nil {
					http.SetCookie(w, c.cookie)
				}
			})
			p := probe.New(r, r.Spec.Host, address)
			plain, err := p.Plain(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if can := p.CanPin(plain, []route.Endpoint{endpoint}); can != (c.pinned != "") {
				t.Fatalf("can pin: %v", can)
			}
			requests()
			if _, _, err := p.Pinned(t.Context(), endpoint); err != nil {
				t.Fatal(err)
			}
			if name := only(t, requests()).Cookies()[0].Name; c.pinned != "" && name != c.pinned {
				t.Errorf("pinned by cookie %s, want %s", name, c.pinned)
			}
		})
	}
}

// A router that does not answer is an error, and no server was reached.
func TestARouterThatDoesNotAnswer(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(ok))
	address := server.Listener.Addr().String()
	server.Close()
	p := probe.New(webRoute(), webRoute().Spec.Host, address)
	if answer, err := p.Plain(t.Context()); err == nil || answer.Status != 0 {
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
	answer, err := probe.New(webRoute(), webRoute().Spec.Host, address).Plain(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if answer.Status != http.StatusFound {
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
			if _, err := probe.New(r, r.Spec.Host, address).Plain(t.Context()); err != nil {
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
	if _, err := probe.New(r, r.Spec.Host, address).Plain(t.Context()); err != nil {
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
			answer, err := probe.New(r, r.Spec.Host, address).Plain(t.Context())
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
	answer, err := probe.New(webRoute(), webRoute().Spec.Host, address).Plain(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if n := len(answer.Body); n == 0 || n >= len(whole) || !strings.HasPrefix(whole, answer.Body) {
		t.Errorf("%d of %d bytes are kept", n, len(whole))
	}
}

// An answer is as good as another if it is of its class, and leads to the same place if it is a redirect. The
// query of a redirect does not count: a login page's has a new number each time.
func TestSameAnswers(t *testing.T) {
	answer := func(status int, location string) probe.Answer {
		return probe.Answer{Status: status, Location: location}
	}
	for _, c := range []struct {
		a, b probe.Answer
		want bool
	}{
		{answer(200, ""), answer(200, ""), true},
		{answer(204, ""), answer(200, ""), true},
		{answer(404, ""), answer(200, ""), false},
		{answer(404, ""), answer(401, ""), true},
		{answer(500, ""), answer(200, ""), false},
		{answer(500, ""), answer(502, ""), true},
		{answer(0, ""), answer(200, ""), false},
		{answer(302, "http://web/login"), answer(200, ""), false},
		{answer(302, "http://web/login"), answer(302, "http://web/login"), true},
		{answer(302, "http://web/install"), answer(302, "http://web/login"), false},
	} {
		if got := c.a.Same(c.b); got != c.want {
			t.Errorf("%+v is as good as %+v: %v, want %v", c.a, c.b, got, c.want)
		}
	}
}

// Where a redirect leads is an absolute URL without its query.
func TestWhereARedirectLeads(t *testing.T) {
	for location, want := range map[string]string{
		"/login?state=4711":                    "http://web.example.com/login",
		"/login;jsessionid=0A1B?x=1":           "http://web.example.com/login",
		"login#top":                            "http://web.example.com/login",
		"https://sso.example.com/auth?nonce=1": "https://sso.example.com/auth",
	} {
		address, _ := router(t, httptest.NewServer, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", location)
			w.WriteHeader(http.StatusFound)
		})
		answer, err := probe.New(webRoute(), webRoute().Spec.Host, address).Plain(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if answer.Location != want {
			t.Errorf("%s leads to %q, want %q", location, answer.Location, want)
		}
	}
}

// A probe is named by its URL, and by the router if one was given.
func TestTheNameOfAProbe(t *testing.T) {
	r := webRoute()
	r.Spec.Path = "/shop"
	if got, want := probe.New(r, r.Spec.Host, "").String(), "http://web.example.com/shop"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	r.Spec.TLS = &routev1.TLSConfig{Termination: routev1.TLSTerminationEdge}
	if got := probe.New(r, r.Spec.Host, "10.0.0.1:8443").String(); !strings.Contains(got, "https://web.example.com/shop") || !strings.Contains(got, "10.0.0.1:8443") {
		t.Errorf("%q does not name URL and router", got)
	}
}
