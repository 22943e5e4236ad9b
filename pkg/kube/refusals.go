package kube

import (
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// refusedFor is how long refusals are taken for those of an API server that has just started.
const refusedFor = 30 * time.Second

// Refusals tells refusals that may pass from those that don't: until an API server has read the
// roles, or while who checks tokens for it is away, it refuses everybody. So who was seen to have
// a right asks again for a while.
type Refusals struct {
	Allowed bool      // the right was seen
	since   time.Time // zero: not refused
}

// Served notes that the API server did what it was asked, or was away, which says nothing
// against a right.
func (r *Refusals) Served() { r.Allowed, r.since = true, time.Time{} }

// MayPass says whether an error is a refusal after which to ask again.
func (r *Refusals) MayPass(err error) bool {
	if !r.Allowed || !Refused(err) {
		return false
	}
	if r.since.IsZero() {
		r.since = time.Now()
	}
	return time.Since(r.since) < refusedFor
}

// Refused says whether an error is the API server's refusal of who asks.
func Refused(err error) bool { return apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) }
