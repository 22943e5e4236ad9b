package kube

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// The longer an outage was, the longer routers may use old Routes.
func TestRoutersAreLateAfterAnOutage(t *testing.T) {
	type event struct {
		at, took time.Duration // when the request was sent, how long the response took
		code     int           // 0: no response
	}
	const s = time.Second
	for name, c := range map[string]struct {
		events []event
		now    time.Duration
		want   time.Duration
	}{
		"never":                  {nil, 5 * s, 0},
		"served":                 {[]event{{0, 0, 200}, {s, 0, 404}}, 5 * s, 0},
		"a moment":               {[]event{{0, 0, 0}, {s, 0, 200}}, 1500 * time.Millisecond, 5500 * time.Millisecond},
		"a moment, long ago":     {[]event{{0, 0, 0}, {s, 0, 200}}, 9 * s, 0},
		"a minute":               {[]event{{0, 0, 0}, {30 * s, 0, 0}, {60 * s, 0, 200}}, 60 * s, 2 * time.Minute},
		"still":                  {[]event{{0, 0, 0}, {8 * s, 0, 503}}, 10 * s, time.Minute},
		"a minute, and a moment": {[]event{{0, 0, 0}, {60 * s, 0, 200}, {61 * s, 0, 0}, {62 * s, 0, 200}}, 62 * s, 118 * s},
		"no answer for long":     {[]event{{0, 10 * s, 0}, {11 * s, 0, 200}}, 11 * s, 66 * s},
		"refused as it starts":   {[]event{{0, 0, 0}, {2 * s, 0, 403}, {4 * s, 0, 200}}, 4 * s, 24 * s},
		"refused for good":       {[]event{{0, 0, 200}, {s, 0, 403}, {60 * s, 0, 401}}, 60 * s, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o, start := &Outage{}, time.Now()
				for _, e := range c.events {
					time.Sleep(time.Until(start.Add(e.at)))
					transport := outageTransport{o, roundTripFunc(func() (*http.Response, error) {
						time.Sleep(e.took)
						if e.code == 0 {
							return nil, errors.New("connection refused")
						}
						return &http.Response{StatusCode: e.code}, nil
					})}
					_, _ = transport.RoundTrip(request(t.Context(), "/apis/route.openshift.io/v1/routes"))
					_, _ = outageTransport{o, roundTripFunc(func() (*http.Response, error) { return nil, errors.New("no such node") })}.
						RoundTrip(request(t.Context(), "/api/v1/nodes/x")) // does not concern routers
				}
				time.Sleep(time.Until(start.Add(c.now)))
				if got := o.Late(time.Now()); got != c.want {
					t.Errorf("%s, wanted %s", got, c.want)
				}
			})
		})
	}
}

// roundTripFunc is a transport that calls a function.
type roundTripFunc func() (*http.Response, error)

func (f roundTripFunc) RoundTrip(*http.Request) (*http.Response, error) { return f() }

func request(ctx context.Context, path string) *http.Request {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://api"+path, nil)
	if err != nil {
		panic(err)
	}
	return r
}
