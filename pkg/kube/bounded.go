package kube

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// requestTime bounds one request to the API server, which itself gives up after a minute.
const requestTime = 70 * time.Second

// answerTime is how long a write that was sent is waited for after its caller gave up. The
// server may still do it: who undoes what he wrote must know of it first.
const answerTime = 10 * time.Second

// bounded ends a request that hangs. Watches and upgraded streams must have begun by then:
// they end with their context, or when the connection's health checks fail.
type bounded struct {
	next   http.RoundTripper
	within time.Duration
	begun  time.Time // the request, before its time began to run
}

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	b.begun = time.Now()
	switch {
	case upgrades(r):
		return b.upgrade(r)
	case streams(r):
		return b.begin(r)
	}
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	ctx, end := context.WithTimeout(outlasting(r), b.within)
	cancel := end
	if writes(r) {
		stop := context.AfterFunc(r.Context(), func() { time.AfterFunc(answerTime, end) })
		cancel = func() { stop(); end() }
	}
	return b.send(ctx, cancel, r)
}

// begin waits for the answer's head only.
func (b bounded) begin(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(r.Context())
	defer time.AfterFunc(b.within, cancel).Stop()
	return b.send(ctx, cancel, r)
}

// upgrade waits for the connection to become the stream's, which then outlives the request. A
// WebSocket keeps to a context's deadline while it waits, not to its end; SPDY, to which clients
// fall back before old API servers, to neither.
func (b bounded) upgrade(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithTimeout(r.Context(), b.within)
	defer cancel()
	return b.send(ctx, cancel, r)
}

// send has a request answered under a context that goes with the answer's body. It says of an
// error when it is our bound, not the caller's own deadline.
func (b bounded) send(ctx context.Context, cancel context.CancelFunc, r *http.Request) (*http.Response, error) {
	resp, err := b.next.RoundTrip(r.WithContext(ctx))
	if err == nil {
		resp.Body = body{resp.Body, cancel}
		return resp, nil
	}
	cancel()
	if r.Context().Err() == nil && time.Since(b.begun) >= b.within {
		err = fmt.Errorf("no answer within %s: %v", b.within, err)
	}
	return nil, err
}

// outlasting is the request's context, for a write one that does not end with it.
func outlasting(r *http.Request) context.Context {
	if writes(r) {
		return context.WithoutCancel(r.Context())
	}
	return r.Context()
}

// writes says whether a request changes something that may have to be undone. A Lease is not
// waited for: who can't renew it in time must stop acting.
func writes(r *http.Request) bool {
	if strings.HasPrefix(r.URL.Path, "/apis/coordination.k8s.io/") {
		return false
	}
	return r.Method == http.MethodDelete || r.Method != http.MethodGet && !twice(r)
}

// streams: its answer does not end by itself.
func streams(r *http.Request) bool {
	query := r.URL.Query()
	return query.Has("watch") || query.Has("follow") || upgrades(r)
}

// upgrades: its connection becomes a stream of another protocol.
func upgrades(r *http.Request) bool {
	p := strings.Split(r.URL.Path, "/") // …/namespaces/NAMESPACE/pods/POD/exec
	n := len(p)
	return n >= 5 && p[n-5] == "namespaces" && p[n-3] == "pods" && (p[n-1] == "exec" || p[n-1] == "attach")
}

// body ends its request's time when it is closed.
type body struct {
	io.ReadCloser
	cancel context.CancelFunc
}

func (b body) Close() error {
	defer b.cancel()
	return b.ReadCloser.Close()
}
