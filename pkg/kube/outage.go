package kube

import (
	"net/http"
	"strings"
	"sync"
	"time"
)

// MostLate bounds how long routers may be late, see Outage.
const MostLate = time.Minute

// Outage is what a process' own requests for Routes go through. Routers watch Routes too: once
// they are served again, a router asks again after pauses that double, are by chance up to
// twice as long, and a minute at most (client-go's reflector). Until then it goes by what was.
type Outage struct {
	mu     sync.Mutex
	served time.Time // when Routes were last
	since  time.Time // from when on they were not; zero: they are
	until  time.Time // routers may be late till then
}

// Late is how much longer routers may go by what was.
func (o *Outage) Late(now time.Time) time.Duration {
	if o == nil {
		return 0
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	late := max(0, o.until.Sub(now))
	if !o.since.IsZero() {
		late = max(late, catchUp(now.Sub(o.since)))
	}
	return late
}

func catchUp(outage time.Duration) time.Duration { return min(2*outage, MostLate) }

// failed notes a request that was sent at a time and not served.
func (o *Outage) failed(sent time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.since.IsZero() {
		o.since = sent
		if o.served.After(sent) {
			o.since = o.served
		}
	}
}

// over notes that Routes are served.
func (o *Outage) over(now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.since.IsZero() {
		if until := now.Add(catchUp(now.Sub(o.since))); until.After(o.until) {
			o.until = until
		}
	}
	o.served, o.since = now, time.Time{}
}

// outageTransport notes each answer to a request for Routes. That somebody is refused tells
// nothing: an API server that has just started refuses everybody.
type outageTransport struct {
	outage *Outage
	next   http.RoundTripper
}

func (t outageTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	sent := time.Now()
	resp, err := t.next.RoundTrip(r)
	if !strings.HasPrefix(r.URL.Path, "/apis/route.openshift.io/") || r.Context().Err() != nil {
		return resp, err
	}
	switch {
	case err != nil || resp.StatusCode >= http.StatusInternalServerError:
		t.outage.failed(sent)
	case resp.StatusCode != http.StatusUnauthorized && resp.StatusCode != http.StatusForbidden && resp.StatusCode != http.StatusTooManyRequests:
		t.outage.over(time.Now())
	}
	return resp, err
}
