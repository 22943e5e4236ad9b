// Package probe sends requests through a Route's router: plain ones, as a new client would, and pinned
// ones, which select a server by the router's sticky cookie and so reach a backend of weight 0 that
// gets no users.
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

// requestTimeout limits one request. The router tries a dead server for 3 s and an unresponsive one for
// 5 s, three times, before it gives up or uses another server.
const requestTimeout = 20 * time.Second

// bodyLimit is how much of a response is read, in bytes.
const bodyLimit = 64 << 10

// Probe sends requests to one Route.
type Probe struct {
	url    string
	router string // address to connect to, "" for the URL's host
	cookie string // name of the sticky cookie
	client *http.Client
}

// Answer is a response.
type Answer struct {
	Status int // HTTP status, 0 for no response
	// Cookie is the value of the sticky cookie that the router set, "" if it accepted the one in the
	// request or sets none.
	Cookie string
	Body   string // up to bodyLimit
}

// OK reports whether there was a response other than a server error.
func (a Answer) OK() bool { return a.Status > 0 && a.Status < http.StatusInternalServerError }

// New returns a probe for a Route. router, HOST or HOST:PORT, is the address to connect to; "" means the
// address in DNS of the Route's host. The router's certificate is not verified: the probe checks the
// Route, not the connection to the router.
func New(r *routev1.Route, router string) *Probe {
	scheme, port := "http", "80"
	if r.Spec.TLS != nil {
		scheme, port = "https", "443"
	}
	host := r.Spec.Host
	if r.Spec.WildcardPolicy == routev1.WildcardPolicySubdomain {
		host = "osc-debug-probe" + host[indexOrEnd(host, '.'):]
	}
	dialer := &net.Dialer{Timeout: 5 * time.Second}
	transport := &http.Transport{
		DisableKeepAlives: true,                                  // each request is a new client
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, // see New
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
		client: &http.Client{Transport: transport, Timeout: requestTimeout,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}
}

// indexOrEnd returns the index of the first c in s, len(s) if there is none.
func indexOrEnd(s string, c byte) int {
	for i := range len(s) {
		if s[i] == c {
			return i
		}
	}
	return len(s)
}

// String returns the URL, and the router's address if one was given.
func (p *Probe) String() string {
	if p.router != "" {
		return p.url + " at router " + p.router
	}
	return p.url
}

// Plain sends a request without a cookie, as a new client does.
func (p *Probe) Plain(ctx context.Context) (Answer, error) { return p.send(ctx, "") }

// Pinned sends a request to one server. reached is false if the router does not know the server, or
// could not reach it and used another one.
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
