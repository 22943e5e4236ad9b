package kube

import (
	"context"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"
)

// attempts and the pauses between them bound how long a request is tried again: with
// pauses of 0.1, 0.2, 0.4 and 0.8 s, half as much again by chance, about two seconds.
const (
	attempts   = 5
	firstPause = 100 * time.Millisecond
)

// retrying tries again what may be done twice: reads, deletions (which name the very
// object), dry runs and questions about rights. Other writes are up to who makes them.
type retrying struct{ next http.RoundTripper }

func (t retrying) RoundTrip(r *http.Request) (*http.Response, error) {
	if !twice(r) {
		return t.next.RoundTrip(r)
	}
	for try := 1; ; try++ {
		resp, err := t.next.RoundTrip(r)
		if try == attempts || !passing(resp, err) || r.Context().Err() != nil {
			return resp, err
		}
		again, cloneErr := clone(r)
		if cloneErr != nil {
			return resp, err
		}
		if resp != nil {
			_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 4<<10))
			_ = resp.Body.Close()
		}
		if err := pause(r.Context(), try); err != nil {
			return nil, err
		}
		r = again
	}
}

// twice says whether a request does no more when it is made twice.
func twice(r *http.Request) bool {
	switch {
	case streams(r):
		return false // whoever watches begins again himself
	case r.Method == http.MethodGet || r.Method == http.MethodDelete:
		return true
	case r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "reviews"):
		return true
	}
	return r.URL.Query().Has("dryRun")
}

// passing: an answer, or none, that may be another one in a moment. client-go itself tries
// again where the API server says when.
func passing(resp *http.Response, err error) bool {
	if err != nil {
		return true
	}
	if resp.Header.Get("Retry-After") != "" {
		return false
	}
	switch resp.StatusCode {
	case http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

func clone(r *http.Request) (*http.Request, error) {
	again := r.Clone(r.Context())
	if r.Body == nil || r.Body == http.NoBody {
		return again, nil
	}
	if r.GetBody == nil {
		return nil, http.ErrBodyNotAllowed
	}
	var err error
	again.Body, err = r.GetBody()
	return again, err
}

func pause(ctx context.Context, try int) error {
	wait := firstPause << (try - 1)
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(wait + rand.N(wait/2)):
		return nil
	}
}
