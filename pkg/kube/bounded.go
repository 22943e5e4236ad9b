package kube

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// requestTimeout bounds one request. The API server itself gives up after a minute.
const requestTimeout = 70 * time.Second

// writeGrace is how long to wait for the response to a write after its caller has given up. The
// server may still perform the write, and a caller that has to undo it must know.
const writeGrace = 10 * time.Second

// bounded ends requests that hang. For watches and upgraded streams only the start is bounded; after
// that they end with their context, or when the connection's health checks fail.
type bounded struct {
	next    http.RoundTripper
	timeout time.Duration
	start   time.Time // of the request; RoundTrip sets it before the timeout begins
}

// RoundTrip sends a request, with the bound that fits its kind.
func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	b.start = time.Now()
	switch {
	case isUpgrade(r):
		return b.upgrade(r)
	case isStream(r):
		return b.startStream(r)
	}
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	ctx, end := context.WithTimeout(detachedFromCaller(r), b.timeout)
	cancel := end
	if isWrite(r) {
		stop := context.AfterFunc(r.Context(), func() { time.AfterFunc(writeGrace, end) })
		cancel = func() { stop(); end() }
	}
	return b.send(ctx, cancel, r)
}

// startStream bounds only the time until the response headers arrive.
func (b bounded) startStream(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(r.Context())
	defer time.AfterFunc(b.timeout, cancel).Stop()
	return b.send(ctx, cancel, r)
}

// upgrade bounds the time until the connection becomes a stream, which then outlives the request.
// While it waits, a WebSocket respects its context's deadline but not its cancellation. SPDY, which
// clients use with old API servers, respects neither.
func (b bounded) upgrade(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithTimeout(r.Context(), b.timeout)
	defer cancel()
	return b.send(ctx, cancel, r)
}

// send sends a request with a context that is cancelled when the response body is closed. The error
// says so if our timeout ended the request, not the caller's own deadline.
func (b bounded) send(ctx context.Context, cancel context.CancelFunc, r *http.Request) (*http.Response, error) {
	resp, err := b.next.RoundTrip(r.WithContext(ctx))
	if err == nil {
		resp.Body = cancelingBody{resp.Body, cancel}
		return resp, nil
	}
	cancel()
	if r.Context().Err() == nil && time.Since(b.start) >= b.timeout {
		// Not %w: a wrapped context error would make store.Retriable return false.
		err = fmt.Errorf("no answer within %s: %v", b.timeout, err)
	}
	return nil, err
}

// detachedFromCaller returns the request's context. For a write, cancelling the request does not
// cancel the returned context.
func detachedFromCaller(r *http.Request) context.Context {
	if isWrite(r) {
		return context.WithoutCancel(r.Context())
	}
	return r.Context()
}

// isWrite reports whether a request changes something that may have to be undone. Lease updates do
// not count: a guard that cannot renew its Lease in time must stop acting.
func isWrite(r *http.Request) bool {
	if strings.HasPrefix(r.URL.Path, "/apis/coordination.k8s.io/") {
		return false
	}
	return r.Method == http.MethodDelete || r.Method != http.MethodGet && !isIdempotent(r)
}

// isStream reports whether the response does not end by itself.
func isStream(r *http.Request) bool {
	query := r.URL.Query()
	return query.Has("watch") || query.Has("follow") || isUpgrade(r)
}

// isUpgrade reports whether the connection becomes a stream of another protocol: exec or attach.
func isUpgrade(r *http.Request) bool {
	p := strings.Split(r.URL.Path, "/") // …/namespaces/NAMESPACE/pods/POD/exec
	n := len(p)
	return n >= 5 && p[n-5] == "namespaces" && p[n-3] == "pods" && (p[n-1] == "exec" || p[n-1] == "attach")
}

// cancelingBody is a response body that cancels the request's context when it is closed.
type cancelingBody struct {
	io.ReadCloser
	cancel context.CancelFunc
}

// Close closes the body and cancels the context.
func (b cancelingBody) Close() error {
	defer b.cancel()
	return b.ReadCloser.Close()
}
