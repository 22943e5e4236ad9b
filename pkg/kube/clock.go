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

// learn moves the clock no farther than an answer demands. Date is cut to a second (RFC 9110,
// 5.6.7), so the server's time was date or up to a second later at some moment between sent
// and received. Taking date itself would set the clock back at every answer, and what has
// just become due would not be due yet, over and over.
func (c *Clock) learn(date, sent, received time.Time) {
	offset := c.offset.Load()
	least, most := int64(date.Sub(received)), int64(date.Add(time.Second).Sub(sent))
	c.offset.CompareAndSwap(offset, min(max(offset, least), most)) // else another answer was as good
}

// clockTransport has the clock learn from every answer.
type clockTransport struct {
	clock *Clock
	next  http.RoundTripper
}

func (t *clockTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	sent := time.Now()
	resp, err := t.next.RoundTrip(r)
	if err == nil {
		if date, parseErr := http.ParseTime(resp.Header.Get("Date")); parseErr == nil {
			t.clock.learn(date, sent, time.Now())
		}
	}
	return resp, err
}
