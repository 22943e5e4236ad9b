package kube

import (
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// refusalGrace is how long a 401 or 403 may be temporary.
const refusalGrace = 30 * time.Second

// Refusals distinguishes temporary responses 401 and 403 from permanent ones. An API server rejects
// every user until it has read the roles, and while its authenticator is down. A caller that was
// allowed before therefore retries for 30 s.
type Refusals struct {
	Allowed bool      // the caller was allowed before
	since   time.Time // when the refusals began; zero: not refused
}

// Served records that the API server performed a request, or did not answer, which says nothing
// about permissions.
func (r *Refusals) Served() { r.Allowed, r.since = true, time.Time{} }

// MayPass reports whether err is a refusal that may be temporary, so that the caller should retry.
func (r *Refusals) MayPass(err error) bool {
	if !r.Allowed || !Refused(err) {
		return false
	}
	if r.since.IsZero() {
		r.since = time.Now()
	}
	return time.Since(r.since) < refusalGrace
}

// Refused reports whether err is a response 401 or 403.
func Refused(err error) bool { return apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) }
