package kube

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
)

// Idempotent requests are retried after a transient failure; every other request is sent once.
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
		"exec":                      {"GET", "/api/v1/namespaces/x/pods/y/exec", 503, "", 1},
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
			transport, err := rest.TransportFor(Wrap(&rest.Config{Host: server.URL}, clock, &Outage{}))
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
				t.Errorf("the clock is off by %s", off)
			}
		})
	}
}

// If the caller gives up while a write is under way, the transport still waits for the response: it
// shows whether there is something to undo. It does not wait for a read.
func TestAWriteThatWasSentIsWaitedFor(t *testing.T) {
	for request, answered := range map[string]bool{
		"PATCH /api/v1/pods": true, "POST /api/v1/pods": true, "DELETE /api/v1/pods": true, "GET /api/v1/pods": false,
		"POST /api/v1/pods?dryRun=All": false, "PUT /apis/coordination.k8s.io/v1/namespaces/x/leases/y": false, // the guard must know in time whether it holds the Lease
	} {
		t.Run(request, func(t *testing.T) {
			method, path, _ := strings.Cut(request, " ")
			arrived, proceed := make(chan struct{}), make(chan struct{})
			server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
				close(arrived)
				<-proceed
			}))
			defer server.Close()
			transport, err := rest.TransportFor(Wrap(&rest.Config{Host: server.URL}, &Clock{}, &Outage{}))
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
				time.Sleep(50 * time.Millisecond) // a transport that wrongly gives up has done so by then
				close(proceed)
			}()
			resp, err := transport.RoundTrip(r)
			if (err == nil) != answered {
				t.Fatalf("%v", err)
			}
			if err == nil {
				_ = resp.Body.Close()
			}
			if _, err := transport.RoundTrip(r); err == nil {
				t.Error("the request was sent after its caller gave up")
			}
		})
	}
}

// The clock is within a second of the server's, and all responses together turn it back by no more
// than a second.
func TestClockLearns(t *testing.T) {
	for name, skew := range map[string]time.Duration{"same": 0, "an hour ahead": time.Hour, "an hour behind": -time.Hour, "300 ms": 300 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			local := time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC)
			var c Clock
			last, back := time.Duration(0), time.Duration(0)
			for i := range 500 {
				sent := local.Add(time.Duration(i) * 37 * time.Millisecond)
				received := sent.Add(5 * time.Millisecond)
				c.adjust(sent.Add(2*time.Millisecond+skew).Truncate(time.Second), sent, received)
				offset := time.Duration(c.offset.Load())
				if off := (offset - skew).Abs(); off > time.Second+5*time.Millisecond {
					t.Fatalf("response %d: off by %s", i, off)
				}
				if i > 0 {
					back += max(0, last-offset)
				}
				last = offset
			}
			if back > time.Second+5*time.Millisecond {
				t.Fatalf("turned back by %s in total", back)
			}
		})
	}
	var c Clock
	start := time.Now()
	c.adjust(start.Add(time.Hour).Truncate(time.Second), start, start)
	c.adjust(start.Truncate(time.Second), start, start) // someone corrected the server's clock
	if off := time.Duration(c.offset.Load()).Abs(); off > time.Second {
		t.Fatalf("off by %s after the server's clock was corrected", off)
	}
}

// hangingTransport accepts requests and never answers.
type hangingTransport struct{}

func (hangingTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

// streamingTransport answers at once with a body that ends when the request's context ends.
type streamingTransport struct{}

func (streamingTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	in, out := io.Pipe()
	context.AfterFunc(r.Context(), func() { _ = out.CloseWithError(r.Context().Err()) })
	return &http.Response{StatusCode: http.StatusOK, Body: in}, nil
}

// Requests that are never answered end, and so do streams that never begin. A stream that has begun
// continues for as long as its caller wants.
func TestRequestsAreBounded(t *testing.T) {
	for _, request := range []string{"GET /api/v1/pods", "PATCH /api/v1/pods", "GET /api/v1/pods?watch=true", "GET /api/v1/pods/x/log?follow=true"} {
		t.Run(request, func(t *testing.T) {
			method, path, _ := strings.Cut(request, " ")
			synctest.Test(t, func(t *testing.T) {
				r, err := http.NewRequestWithContext(t.Context(), method, "http://api"+path, nil)
				if err != nil {
					t.Fatal(err)
				}
				start := time.Now()
				if _, err := (bounded{next: hangingTransport{}, timeout: requestTimeout}).RoundTrip(r); err == nil || !strings.Contains(err.Error(), "no answer within") {
					t.Error(err)
				}
				if took := time.Since(start); took != requestTimeout {
					t.Errorf("it took %s", took)
				}
				resp, err := bounded{next: streamingTransport{}, timeout: requestTimeout}.RoundTrip(r)
				if err != nil {
					t.Fatal(err)
				}
				ended := make(chan error, 1)
				go func() { _, err := io.Copy(io.Discard, resp.Body); ended <- err }()
				time.Sleep(2 * requestTimeout)
				synctest.Wait()
				select {
				case err := <-ended:
					if isStream(r) {
						t.Errorf("a running stream was ended: %v", err)
					}
				default:
					if !isStream(r) {
						t.Error("an endless response was not ended")
					}
				}
				_ = resp.Body.Close()
			})
		})
	}
}

// A command in a pod whose node never answers times out: the connection is established, but not
// upgraded.
func TestAnUpgradeThatHangsIsGivenUp(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close() // connections wait in its accept queue
	config := &rest.Config{Host: "http://" + listener.Addr().String()}
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return bounded{next: next, timeout: 100 * time.Millisecond}
	})
	exec, err := remotecommand.NewWebSocketExecutor(config, "GET", config.Host+"/api/v1/namespaces/x/pods/y/exec?command=id&stdout=true")
	if err != nil {
		t.Fatal(err)
	}
	if err := exec.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdout: io.Discard}); err == nil || !strings.Contains(err.Error(), "no answer within 100ms") {
		t.Errorf("%v", err)
	}
}

// Only exec and attach of a pod upgrade, not other resources with such names.
func TestWhatUpgrades(t *testing.T) {
	for path, want := range map[string]bool{
		"/api/v1/namespaces/x/pods/y/exec": true, "/api/v1/namespaces/exec/pods/attach/attach": true,
		"/apis/route.openshift.io/v1/namespaces/x/routes/exec": false, "/apis/route.openshift.io/v1/namespaces/pods/routes/exec": false,
		"/api/v1/namespaces/x/pods/exec": false, "/api/v1/namespaces/exec": false, "/exec": false,
	} {
		if got := isUpgrade(request(t.Context(), path)); got != want {
			t.Errorf("%s: %v", path, got)
		}
	}
}
