package kube

import (
	"io"
	"net/http"
	"strings"
	"time"
)

// Retries of a request take about two seconds: the pauses are 0.1, 0.2, 0.4 and 0.8 s, each plus up
// to half of it as jitter.
const (
	attempts   = 5
	firstPause = 100 * time.Millisecond
)

// retrying retries idempotent requests: reads, deletions (which name the UID of the object), dry
// runs and access reviews. Callers retry other writes themselves.
type retrying struct{ next http.RoundTripper }

// RoundTrip sends a request, at most five times if it is idempotent.
func (t retrying) RoundTrip(r *http.Request) (*http.Response, error) {
	if !isIdempotent(r) {
		return t.next.RoundTrip(r)
	}
	for try := 1; ; try++ {
		resp, err := t.next.RoundTrip(r)
		if try == attempts || !isTransient(resp, err) || r.Context().Err() != nil {
			return resp, err
		}
		copied, cloneErr := cloneRequest(r)
		if cloneErr != nil {
			return resp, err
		}
		if resp != nil {
			_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 4<<10))
			_ = resp.Body.Close()
		}
		if err := Backoff(r.Context(), firstPause, try); err != nil {
			return nil, err
		}
		r = copied
	}
}

// isIdempotent reports whether sending a request twice has the same effect as sending it once.
func isIdempotent(r *http.Request) bool {
	switch {
	case isStream(r):
		return false // a watch's caller starts it again
	case r.Method == http.MethodGet || r.Method == http.MethodDelete:
		return true
	case r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "reviews"):
		return true
	}
	return r.URL.Query().Has("dryRun")
}

// isTransient reports whether a retry may succeed. A response with Retry-After does not count:
// client-go itself retries that.
func isTransient(resp *http.Response, err error) bool {
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

// cloneRequest copies a request with a fresh body. It fails for a body that cannot be read twice.
func cloneRequest(r *http.Request) (*http.Request, error) {
	copied := r.Clone(r.Context())
	if r.Body == nil || r.Body == http.NoBody {
		return copied, nil
	}
	if r.GetBody == nil {
		return nil, http.ErrBodyNotAllowed
	}
	var err error
	copied.Body, err = r.GetBody()
	return copied, err
}
