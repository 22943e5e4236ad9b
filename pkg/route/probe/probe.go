// Package probe sends requests through a Route's router: plain ones, as a new client
// would, and pinned ones that name one server by the router's own sticky cookie and
// so reach a backend of weight 0 that no user is sent to.
package probe

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	routev1 "github.com/openshift/api/route/v1"

	"github.com/osc-debug/osc-debug/pkg/route"
)

// timeout bounds one request. The router itself tries a dead server for 3 s and a
// silent one for 5 s, three times, before it gives up or goes elsewhere.
const timeout = 20 * time.Second

// bodyLimit is how much of an answer is read.
const bodyLimit = 64 << 10

// Probe sends requests to one Route.
type Probe struct {
	url    string
	router string // where it connects to, "" for the URL's host
	cookie string
	client *http.Client
}

// Answer is what came back.
type Answer struct {
	Status int
	// Cookie is the value that the router set, "" when it accepted the one it was given
	// (or sets none).
	Cookie string
	Body   string // its beginning
}

// OK says whether an application answered without a server error.
func (a Answer) OK() bool { return a.Status > 0 && a.Status < http.StatusInternalServerError }

// New makes a probe for a Route. router, HOST or HOST:PORT, is where to connect to;
// empty means wherever DNS has the Route's host. The router's certificate is not
// verified: it is the Route that is probed, not the path to it.
func New(r *routev1.Route, router string) *Probe {
	scheme, port := "http", "80"
	if r.Spec.TLS != nil {
		scheme, port = "https", "443"
	}
	host := r.Spec.Host
	if r.Spec.WildcardPolicy == routev1.WildcardPolicySubdomain {
		host = "osc-debug-probe" + host[index(host, '.'):]
	}
	dialer := &net.Dialer{Timeout: 5 * time.Second}
	transport := &http.Transport{
		DisableKeepAlives: true,                                  // each probe is a client of its own
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // see New
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			if router != "" {
				address = router
				if _, _, err := net.SplitHostPort(router); err != nil {
					address = net.JoinHostPort(router, port)
				}
			}
			return dialer.DialContext(ctx, network, address)
		},
	}
	path := r.Spec.Path
	if path == "" {
		path = "/"
	}
	return &Probe{
		url: scheme + "://" + host + path, router: router, cookie: route.CookieName(r),
		client: &http.Client{Transport: transport, Timeout: timeout,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}
}

func index(s string, c byte) int {
	for i := range len(s) {
		if s[i] == c {
			return i
		}
	}
	return len(s)
}

// String is what is asked for, and where.
func (p *Probe) String() string {
	if p.router != "" {
		return p.url + " at router " + p.router
	}
	return p.url
}

// Plain sends a request as a client without a cookie.
func (p *Probe) Plain(ctx context.Context) (Answer, error) { return p.send(ctx, "") }

// Pinned sends a request to one server. reached is false when the router does not know
// the server, or could not reach it and let another answer.
func (p *Probe) Pinned(ctx context.Context, e route.Endpoint) (answer Answer, reached bool, err error) {
	answer, err = p.send(ctx, e.Cookie())
	return answer, err == nil && answer.Cookie == "" && answer.Status != http.StatusServiceUnavailable || err == nil && answer.Cookie == e.Cookie(), err
}

func (p *Probe) send(ctx context.Context, cookie string) (Answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url, nil)
	if err != nil {
		return Answer{}, err
	}
	req.Header.Set("User-Agent", "osc-debug-probe")
	if cookie != "" {
		req.AddCookie(&http.Cookie{Name: p.cookie, Value: cookie})
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return Answer{}, fmt.Errorf("probe %s: %w", p, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, bodyLimit))
	if err != nil {
		return Answer{}, fmt.Errorf("probe %s: %w", p, err)
	}
	a := Answer{Status: resp.StatusCode, Body: string(body)}
	for _, c := range resp.Cookies() {
		if c.Name == p.cookie {
			a.Cookie = c.Value
		}
	}
	return a, nil
}
