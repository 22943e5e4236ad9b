package kube

import (
	"net/http"
	"sync/atomic"
	"time"
)

// Clock estimates the API server's time from the Date headers of its responses. Sessions expire by
// the cluster's clock, even if the caller's clock is wrong. The zero value shows the local time.
type Clock struct {
	offset atomic.Int64 // server minus local, in nanoseconds
}

// Now returns the API server's time, accurate to a second.
func (c *Clock) Now() time.Time { return time.Now().Add(time.Duration(c.offset.Load())) }

// adjust moves the clock no farther than a response requires. Date is truncated to a second (RFC
// 9110, 5.6.7), so the server's time was between date and a second later at some moment between sent
// and received. Setting the clock to date would turn it back at every response, and an action that
// has just become due would repeatedly not be due yet.
func (c *Clock) adjust(date, sent, received time.Time) {
	offset := c.offset.Load()
	least, most := int64(date.Sub(received)), int64(date.Add(time.Second).Sub(sent))
	c.offset.CompareAndSwap(offset, min(max(offset, least), most)) // on failure, a concurrent response has set it just as well
}

// clockTransport adjusts a clock by every response.
type clockTransport struct {
	clock *Clock
	next  http.RoundTripper
}

// RoundTrip sends a request and adjusts the clock.
func (t *clockTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	sent := time.Now()
	resp, err := t.next.RoundTrip(r)
	if err == nil {
		if date, parseErr := http.ParseTime(resp.Header.Get("Date")); parseErr == nil {
			t.clock.adjust(date, sent, time.Now())
		}
	}
	return resp, err
}
