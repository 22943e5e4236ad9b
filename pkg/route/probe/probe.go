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
	"net/url"
	"slices"
	"strings"
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
	route  *routev1.Route
	cookie string // name of the sticky cookie
	client *http.Client
}

// Answer is a response.
type Answer struct {
	Status   int    // HTTP status, 0 for no response
	Location string // where a redirect leads, without what may differ each time (see withoutNumbers); "" for none
	// Cookie is the value of the sticky cookie that the router set, "" if it accepted the one in the
	// request or sets none.
	Cookie string
	// Removed is true if the router removed the sticky cookie: the server that answered has none.
	Removed bool
	Body    string // up to bodyLimit

	cookies []*http.Cookie // all that were set
}

// Same reports whether an answer is as good as another: of the same class (2xx, 3xx, …), and if it is a
// redirect, to the same place.
func (a Answer) Same(as Answer) bool {
	return a.Status/100 == as.Status/100 && a.Location == as.Location
}

// New returns a probe for a Route under one of its hosts (route.Hosts). router, HOST or HOST:PORT, is the
// address to connect to; "" means the host's address in DNS. The router's certificate is not verified: the probe checks the
// Route, not the connection to the router.
func New(r *routev1.Route, host, router string) *Probe {
	scheme, port := "http", "80"
	if r.Spec.TLS != nil {
		scheme, port = "https", "443"
	}
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
		url: scheme + "://" + host + path, router: router, route: r, cookie: route.CookieName(r),
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
func (p *Probe) Plain(ctx context.Context) (Answer, error) { return p.send(ctx) }

// CanPin reports whether the router's sticky cookie comes through to clients, so that requests can be pinned:
// the answer to a plain request carries it. If the answer carries it under another name, which its value shows
// because it is that of one of the endpoints, the probe uses that name from now on.
func (p *Probe) CanPin(plain Answer, endpoints []route.Endpoint) bool {
	for _, e := range endpoints {
		for _, c := range plain.cookies {
			if isSet(c) && slices.Contains(e.Cookies(p.route), c.Value) {
				p.cookie = c.Name
				return true
			}
		}
	}
	return plain.Cookie != ""
}

// Pinned sends a request to one server. reached is false if the router does not know the server, or
// could not reach it and used another one. It means nothing unless CanPin was true.
func (p *Probe) Pinned(ctx context.Context, e route.Endpoint) (answer Answer, reached bool, err error) {
	return p.sendPinned(ctx, e.Cookies(p.route))
}

// KnowsDynamic reports whether the router knows a server by HAProxy's own cookie value: then it has the dynamic
// configuration manager. Pinned must have reached the server.
func (p *Probe) KnowsDynamic(ctx context.Context, e route.Endpoint) bool {
	value, ok := e.DynamicCookie(p.route)
	if !ok {
		return false
	}
	_, reached, err := p.sendPinned(ctx, []string{value})
	return err == nil && reached
}

// sendPinned sends a request with the values that a server's cookie may have.
func (p *Probe) sendPinned(ctx context.Context, values []string) (answer Answer, reached bool, err error) {
	answer, err = p.send(ctx, values...)
	switch {
	case err != nil || answer.Removed:
		return answer, false, err
	case answer.Cookie != "":
		return answer, slices.Contains(values, answer.Cookie), nil
	}
	return answer, answer.Status != http.StatusServiceUnavailable, nil
}

// send sends a request with values of the sticky cookie. HAProxy takes the first one that names a server.
func (p *Probe) send(ctx context.Context, cookies ...string) (Answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url, nil)
	if err != nil {
		return Answer{}, err
	}
	req.Header.Set("User-Agent", "osc-debug-probe")
	for _, value := range cookies {
		req.AddCookie(&http.Cookie{Name: p.cookie, Value: value})
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
	a := Answer{Status: resp.StatusCode, Body: string(body), cookies: resp.Cookies()}
	for _, c := range a.cookies {
		if c.Name == p.cookie {
			a.Removed = !isSet(c)
			if !a.Removed {
				a.Cookie = c.Value
			}
		}
	}
	if to, err := resp.Location(); err == nil && a.Status/100 == 3 {
		a.Location = withoutNumbers(to)
	}
	return a, nil
}

// withoutNumbers returns a URL without its query, its fragment and the parameters of its path, such as
// ";jsessionid=…". Programs put numbers there that differ each time.
func withoutNumbers(u *url.URL) string {
	path, _, _ := strings.Cut(u.EscapedPath(), ";")
	return u.Scheme + "://" + u.Host + path
}

// isSet reports whether a Set-Cookie header sets a value. HAProxy removes a cookie with an empty value that
// expired in 1970.
func isSet(c *http.Cookie) bool {
	return c.Value != "" && c.MaxAge >= 0 && (c.Expires.IsZero() || c.Expires.After(time.Now()))
}
