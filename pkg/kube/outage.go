package kube

import (
	"net/http"
	"strings"
	"sync"
	"time"
)

// maxLate is the longest time that Outage.Late returns.
const maxLate = time.Minute

// Outage estimates, from this process's own requests for Routes, how long routers still use old
// Routes after an outage of the API server. Routers watch Routes too. After an outage a router's
// watch reconnects after pauses that double, that jitter makes up to twice as long, and that are at
// most one minute long (client-go's reflector). Until then the router uses the Routes that it knows.
type Outage struct {
	mu         sync.Mutex
	lastServed time.Time // the last success of a request for Routes
	downSince  time.Time // when the current outage began; zero: Routes are served
	lateUntil  time.Time // until when routers may use old Routes after the last outage
}

// Late returns for how much longer routers may use old Routes, from 0 to one minute. It returns 0
// for a nil Outage.
func (o *Outage) Late(now time.Time) time.Duration {
	if o == nil {
		return 0
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	late := max(0, o.lateUntil.Sub(now))
	if !o.downSince.IsZero() {
		late = max(late, reconnectTime(now.Sub(o.downSince)))
	}
	return late
}

// reconnectTime is how long a router may take to reconnect after an outage of this length.
func reconnectTime(outage time.Duration) time.Duration { return min(2*outage, maxLate) }

// noteFailure records that a request sent at this time failed.
func (o *Outage) noteFailure(sent time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.downSince.IsZero() {
		o.downSince = sent
		if o.lastServed.After(sent) {
			o.downSince = o.lastServed
		}
	}
}

// noteSuccess records that Routes are served.
func (o *Outage) noteSuccess(now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.downSince.IsZero() {
		if until := now.Add(reconnectTime(now.Sub(o.downSince))); until.After(o.lateUntil) {
			o.lateUntil = until
		}
	}
	o.lastServed, o.downSince = now, time.Time{}
}

// outageTransport reports the result of each request for Routes to an Outage. A 401 or 403 counts
// as neither success nor failure: an API server that has just started rejects every user.
type outageTransport struct {
	outage *Outage
	next   http.RoundTripper
}

// RoundTrip sends a request and records its result.
func (t outageTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	sent := time.Now()
	resp, err := t.next.RoundTrip(r)
	if !strings.HasPrefix(r.URL.Path, "/apis/route.openshift.io/") || r.Context().Err() != nil {
		return resp, err
	}
	switch {
	case err != nil || resp.StatusCode >= http.StatusInternalServerError:
		t.outage.noteFailure(sent)
	case resp.StatusCode != http.StatusUnauthorized && resp.StatusCode != http.StatusForbidden && resp.StatusCode != http.StatusTooManyRequests:
		t.outage.noteSuccess(time.Now())
	}
	return resp, err
}
