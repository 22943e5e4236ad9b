package kube

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/client-go/rest"
)

// What may be done twice is done again after an answer that may be another in a moment;
// everything else is done once.
func TestRetries(t *testing.T) {
	for name, c := range map[string]struct {
		method, path string
		code         int
		header       string // Retry-After
		want         int64  // requests
	}{
		"read":                      {"GET", "/api/v1/pods", 503, "", 3},
		"deletion":                  {"DELETE", "/api/v1/pods/x", 500, "", 3},
		"dry run":                   {"PATCH", "/routes/x?dryRun=All", 504, "", 3},
		"question about rights":     {"POST", "/selfsubjectaccessreviews", 500, "", 3},
		"creation":                  {"POST", "/api/v1/pods", 503, "", 1},
		"patch":                     {"PATCH", "/routes/x", 503, "", 1},
		"watch":                     {"GET", "/api/v1/pods?watch=true", 503, "", 1},
		"exec":                      {"GET", "/api/v1/pods/x/exec", 503, "", 1},
		"refused":                   {"GET", "/api/v1/pods", 403, "", 1},
		"client-go waits for these": {"GET", "/api/v1/pods", 429, "1", 1},
	} {
		t.Run(name, func(t *testing.T) {
			var requests atomic.Int64
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				if r.Method != http.MethodGet && string(body) != "body" {
					t.Errorf("the body of request %d is %q", requests.Load()+1, body)
				}
				if requests.Add(1) < 3 {
					if c.header != "" {
						w.Header().Set("Retry-After", c.header)
					}
					w.WriteHeader(c.code)
				}
			}))
			defer server.Close()
			clock := &Clock{}
			transport, err := rest.TransportFor(Wrap(&rest.Config{Host: server.URL}, clock))
			if err != nil {
				t.Fatal(err)
			}
			var body io.Reader
			if c.method != http.MethodGet {
				body = strings.NewReader("body")
			}
			r, err := http.NewRequestWithContext(t.Context(), c.method, server.URL+c.path, body)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := transport.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if requests.Load() != c.want {
				t.Errorf("%d requests, wanted %d", requests.Load(), c.want)
			}
			if off := time.Until(clock.Now()).Abs(); off > 2*time.Second {
				t.Errorf("the clock learned from the answers is off by %s", off)
			}
		})
	}
}

// A write whose caller gives up while it is under way is waited for: its answer tells whether
// there is something to undo. A read is not.
func TestAWriteThatWasSentIsWaitedFor(t *testing.T) {
	for request, answered := range map[string]bool{
		"PATCH /api/v1/pods": true, "POST /api/v1/pods": true, "DELETE /api/v1/pods": true, "GET /api/v1/pods": false,
		"POST /api/v1/pods?dryRun=All": false, "PUT /apis/coordination.k8s.io/v1/namespaces/x/leases/y": false, // who holds it must know in time
	} {
		t.Run(request, func(t *testing.T) {
			method, path, _ := strings.Cut(request, " ")
			arrived, goOn := make(chan struct{}), make(chan struct{})
			server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
				close(arrived)
				<-goOn
			}))
			defer server.Close()
			transport, err := rest.TransportFor(Wrap(&rest.Config{Host: server.URL}, &Clock{}))
			if err != nil {
				t.Fatal(err)
			}
			ctx, giveUp := context.WithCancel(t.Context())
			r, err := http.NewRequestWithContext(ctx, method, server.URL+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			go func() {
				<-arrived
				giveUp()
				time.Sleep(50 * time.Millisecond) // for a transport that would give up with it
				close(goOn)
			}()
			resp, err := transport.RoundTrip(r)
			if (err == nil) != answered {
				t.Fatalf("%v", err)
			}
			if err == nil {
				_ = resp.Body.Close()
			}
			if _, err := transport.RoundTrip(r); err == nil {
				t.Error("sent after its caller gave up")
			}
		})
	}
}

// The clock comes to within a second of the server's, and all answers together set it back
// by no more than that.
func TestClockLearns(t *testing.T) {
	for name, skew := range map[string]time.Duration{"same": 0, "an hour ahead": time.Hour, "an hour behind": -time.Hour, "300 ms": 300 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			local := time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC)
			var c Clock
			last, back := time.Duration(0), time.Duration(0)
			for i := range 500 {
				sent := local.Add(time.Duration(i) * 37 * time.Millisecond)
				received := sent.Add(5 * time.Millisecond)
				c.learn(sent.Add(2*time.Millisecond+skew).Truncate(time.Second), sent, received)
				offset := time.Duration(c.offset.Load())
				if off := (offset - skew).Abs(); off > time.Second+5*time.Millisecond {
					t.Fatalf("answer %d: off by %s", i, off)
				}
				if i > 0 {
					back += max(0, last-offset)
				}
				last = offset
			}
			if back > time.Second+5*time.Millisecond {
				t.Fatalf("set back by %s in all", back)
			}
		})
	}
	var c Clock
	start := time.Now()
	c.learn(start.Add(time.Hour).Truncate(time.Second), start, start)
	c.learn(start.Truncate(time.Second), start, start) // somebody set a clock right
	if off := time.Duration(c.offset.Load()).Abs(); off > time.Second {
		t.Fatalf("off by %s after a clock was set", off)
	}
}
