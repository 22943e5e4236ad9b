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

// hanging is a server that takes requests and never answers.
type hanging struct{}

func (hanging) RoundTrip(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

// streaming is one whose answer begins at once, and goes on until its request's context ends.
type streaming struct{}

func (streaming) RoundTrip(r *http.Request) (*http.Response, error) {
	in, out := io.Pipe()
	context.AfterFunc(r.Context(), func() { _ = out.CloseWithError(r.Context().Err()) })
	return &http.Response{StatusCode: http.StatusOK, Body: in}, nil
}

// Nothing hangs: neither what is never answered, nor a stream that never begins. One that
// has begun goes on for as long as its caller wants.
func TestRequestsAreBounded(t *testing.T) {
	for _, request := range []string{"GET /api/v1/pods", "PATCH /api/v1/pods", "GET /api/v1/pods?watch=true", "GET /api/v1/pods/x/log?follow=true"} {
		t.Run(request, func(t *testing.T) {
			method, path, _ := strings.Cut(request, " ")
			synctest.Test(t, func(t *testing.T) {
				r, err := http.NewRequestWithContext(t.Context(), method, "http://api"+path, nil)
				if err != nil {
					t.Fatal(err)
				}
				begin := time.Now()
				if _, err := (bounded{next: hanging{}, within: requestTime}).RoundTrip(r); err == nil || !strings.Contains(err.Error(), "no answer within") {
					t.Error(err)
				}
				if took := time.Since(begin); took != requestTime {
					t.Errorf("it took %s", took)
				}
				resp, err := bounded{next: streaming{}, within: requestTime}.RoundTrip(r)
				if err != nil {
					t.Fatal(err)
				}
				ended := make(chan error, 1)
				go func() { _, err := io.Copy(io.Discard, resp.Body); ended <- err }()
				time.Sleep(2 * requestTime)
				synctest.Wait()
				select {
				case err := <-ended:
					if streams(r) {
						t.Errorf("a stream that began was ended: %v", err)
					}
				default:
					if !streams(r) {
						t.Error("an answer without an end is not ended")
					}
				}
				_ = resp.Body.Close()
			})
		})
	}
}

// A command in a pod whose node never answers is given up: the connection is there, the
// upgrade is not.
func TestAnUpgradeThatHangsIsGivenUp(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close() // connections wait in its queue
	config := &rest.Config{Host: "http://" + listener.Addr().String()}
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return bounded{next: next, within: 100 * time.Millisecond}
	})
	exec, err := remotecommand.NewWebSocketExecutor(config, "GET", config.Host+"/api/v1/namespaces/x/pods/y/exec?command=id&stdout=true")
	if err != nil {
		t.Fatal(err)
	}
	if err := exec.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdout: io.Discard}); err == nil || !strings.Contains(err.Error(), "no answer within 100ms") {
		t.Errorf("%v", err)
	}
}

// What is named like a command's stream is none.
func TestWhatUpgrades(t *testing.T) {
	for path, want := range map[string]bool{
		"/api/v1/namespaces/x/pods/y/exec": true, "/api/v1/namespaces/exec/pods/attach/attach": true,
		"/apis/route.openshift.io/v1/namespaces/x/routes/exec": false, "/apis/route.openshift.io/v1/namespaces/pods/routes/exec": false,
		"/api/v1/namespaces/x/pods/exec": false, "/api/v1/namespaces/exec": false, "/exec": false,
	} {
		if got := upgrades(request(t.Context(), path)); got != want {
			t.Errorf("%s: %v", path, got)
		}
	}
}
