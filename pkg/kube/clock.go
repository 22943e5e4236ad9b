package kube

import (
	"net/http"
	"sync/atomic"
	"time"
)

// Clock tells the API server's time, learned from the Date of its answers: sessions
// expire by the cluster's clock, whatever the caller's shows.
type Clock struct {
	offset atomic.Int64 // server minus local, in nanoseconds
}

// Now is the API server's time, to a second.
func (c *Clock) Now() time.Time { return time.Now().Add(time.Duration(c.offset.Load())) }

// clockTransport sets the clock at every answer.
type clockTransport struct {
	clock *Clock
	next  http.RoundTripper
}

func (t *clockTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.next.RoundTrip(r)
	if err == nil {
		if date, parseErr := http.ParseTime(resp.Header.Get("Date")); parseErr == nil {
			t.clock.offset.Store(int64(time.Until(date)))
		}
	}
	return resp, err
}
