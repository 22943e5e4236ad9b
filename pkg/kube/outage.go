package kube

import (
	"net/http"
	"strings"
	"sync"
	"time"
)

// maxPause is the longest pause between two tries of a router's watch to reconnect, with jitter.
const maxPause = time.Minute

// Outage estimates, from this process's own requests for Routes, how long routers still use old
// Routes after an outage of the API server. Routers watch Routes too, and try to reconnect after
// pauses that double, that jitter makes up to twice as long, and that are at most maxPause long
// (client-go's reflector). When the API server is back, the last pause still has to pass. Then the
// watch learns that the API server does not know its version any more, and pauses once again before it
// lists. Until then the router uses the Routes that it knows.
type Outage struct {
	mu         sync.Mutex
	lastServed time.Time // the last success of a request for Routes
	downSince  time.Time // when the current outage began; zero: Routes are served
	lateUntil  time.Time // until when routers may use old Routes after the last outage
}

// Late returns for how much longer routers may use old Routes, from 0 to two minutes. It returns 0
// for a nil Outage.
func (o *Outage) Late(now time.Time) time.Duration { return max(0, o.LateUntil(now).Sub(now)) }

// LateUntil returns until when routers may use old Routes: a time that has passed after an earlier outage, and
// zero if there was none.
func (o *Outage) LateUntil(now time.Time) time.Time {
	if o == nil {
		return time.Time{}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.downSince.IsZero() {
		if until := now.Add(reconnectTime(now.Sub(o.downSince))); until.After(o.lateUntil) {
			return until
		}
	}
	return o.lateUntil
}

// reconnectTime is how long a router may take to reconnect after an outage of this length: the pause that
// has begun, and the next one.
func reconnectTime(outage time.Duration) time.Duration {
	return min(2*outage, maxPause) + min(4*outage, maxPause)
}

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
