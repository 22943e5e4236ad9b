// Package store writes sessions to the cluster with the caller's own permissions: the four patches
// of a Route, and the deletion of everything that a session created.
package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	routev1 "github.com/openshift/api/route/v1"
	routeclient "github.com/openshift/client-go/route/clientset/versioned"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/osc-debug/osc-debug/pkg/kube"
	"github.com/osc-debug/osc-debug/pkg/session/record"
)

// Store writes sessions to the cluster with the caller's own permissions.
type Store struct {
	Routes routeclient.Interface
	Core   kubernetes.Interface
	// Once limits a write to one try. After a conflict the caller must judge the Route again.
	Once bool
	// Outage records when the clients' requests for Routes failed; nil: not recorded.
	Outage *kube.Outage
}

// A write is tried at most attempts times. firstPause is the pause before the second try, see
// kube.Backoff.
const (
	attempts   = 5
	firstPause = 50 * time.Millisecond
)

// Arm marks the Route for a session (patch 1) and records the Route's backends in j. The error is
// *record.InSession if the Route has another session.
func (s Store) Arm(ctx context.Context, r *routev1.Route, j *record.Journal) (*routev1.Route, error) {
	return s.writeRoute(ctx, r.Namespace, r.Name, r, record.ArmRoute(j, r))
}

// CheckArm is a server-side dry run of Arm. It does not change j.
func (s Store) CheckArm(ctx context.Context, r *routev1.Route, j *record.Journal) (*routev1.Route, error) {
	copied := *j
	return s.writeRouteWith(ctx, r.Namespace, r.Name, r, record.ArmRoute(&copied, r), metav1.PatchOptions{FieldManager: record.FieldManager, DryRun: []string{metav1.DryRunAll}})
}

// Shift sets the weights of all backends, by Service name (patch 2). It resumes a held session only
// if r shows that it is held; for one that was held since, the error has reason SessionHeld.
func (s Store) Shift(ctx context.Context, r *routev1.Route, j *record.Journal, weights map[string]int32) (*routev1.Route, error) {
	known := record.Of(r)
	return s.writeRoute(ctx, r.Namespace, r.Name, r, record.ShiftRoute(j, weights, known != nil && known.State == record.Held))
}

// Hold gives the sandbox's traffic back and keeps the sandbox for inspection.
func (s Store) Hold(ctx context.Context, r *routev1.Route, id string) (*routev1.Route, error) {
	return s.writeRoute(ctx, r.Namespace, r.Name, r, record.HoldRoute(id))
}

// Touch writes which servers a live session's backends have, so that routers with the dynamic configuration manager
// reload: see record.TouchRoute.
func (s Store) Touch(ctx context.Context, r *routev1.Route, id, servers string, now time.Time) (*routev1.Route, error) {
	return s.writeRoute(ctx, r.Namespace, r.Name, r, record.TouchRoute(id, servers, now))
}

// Extend moves the end of a session, truncated to a second.
func (s Store) Extend(ctx context.Context, r *routev1.Route, id string, expires time.Time) (*routev1.Route, error) {
	return s.writeRoute(ctx, r.Namespace, r.Name, r, record.ExtendRoute(id, metav1.NewTime(expires.Truncate(time.Second))))
}

// Restore restores the Route's backends (patch 3) and returns the Route. known is the Route with
// the session's marks as it was last seen, nil to read it. A Route that no longer exists counts as
// changed by others. The error is *record.InSession if the Route has another session, and
// *record.NoWayBack if no backend would be left.
func (s Store) Restore(ctx context.Context, namespace, name, id string, known *routev1.Route) (*routev1.Route, record.Outcome, error) {
	if known != nil && record.Of(known) == nil {
		known = nil // it may have marks by now, from a write whose response was lost
	}
	var out record.Outcome
	r, err := s.writeRoute(ctx, namespace, name, known, record.RestoreRoute(id, &out))
	if apierrors.IsNotFound(err) {
		return nil, record.Outcome{Foreign: true, Gone: true}, nil
	}
	return r, out, err
}

// Close removes the last marks from the Route (patch 4), which was last seen as r (nil: unknown).
func (s Store) Close(ctx context.Context, namespace, name, id string, r *routev1.Route) error {
	_, err := s.writeRoute(ctx, namespace, name, r, record.CloseRoute(id))
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// writeRoute applies a change to the Route r (nil: read it first). After a conflict or a lost
// response it reads the Route and tries again, at most five times in all.
func (s Store) writeRoute(ctx context.Context, namespace, name string, r *routev1.Route, c record.Change) (*routev1.Route, error) {
	return s.writeRouteWith(ctx, namespace, name, r, c, metav1.PatchOptions{FieldManager: record.FieldManager})
}

func (s Store) writeRouteWith(ctx context.Context, namespace, name string, r *routev1.Route, c record.Change, options metav1.PatchOptions) (*routev1.Route, error) {
	var last error
	invalid := "" // resourceVersion of the Route for which a patch was invalid
	for try := range attempts {
		if try > 0 {
			if err := kube.Backoff(ctx, firstPause, try); err != nil {
				return nil, errors.Join(last, err)
			}
		}
		if r == nil {
			var err error
			if r, err = s.Routes.RouteV1().Routes(namespace).Get(ctx, name, metav1.GetOptions{}); err != nil {
				if !Retriable(err) {
					return nil, fmt.Errorf("read route %s/%s: %w", namespace, name, err)
				}
				last = err
				continue
			}
		}
		if r.ResourceVersion == invalid {
			return nil, fmt.Errorf("write route %s/%s: %w", namespace, name, last)
		}
		changed := r.DeepCopy()
		if err := c(changed); err != nil {
			return nil, err
		}
		if len(record.Diff(r, changed)) == 0 {
			return r, nil
		}
		written, err := s.patchRoute(ctx, r, changed, options)
		if err == nil {
			return written, nil
		}
		if s.Once {
			return nil, fmt.Errorf("write route %s/%s: %w", namespace, name, err)
		}
		if apierrors.IsInvalid(err) {
			// The API server rejects a patch that removes something already removed by someone
			// else before it checks the resourceVersion. Try again if the Route has changed.
			invalid = r.ResourceVersion
		} else if !Retriable(err) {
			return nil, fmt.Errorf("write route %s/%s: %w", namespace, name, err)
		}
		last, r = err, nil
	}
	return nil, fmt.Errorf("write route %s/%s: gave up after %d tries: %w", namespace, name, attempts, last)
}

func (s Store) patchRoute(ctx context.Context, old, changed *routev1.Route, options metav1.PatchOptions) (*routev1.Route, error) {
	data, err := json.Marshal(record.Diff(old, changed))
	if err != nil {
		return nil, err
	}
	return s.Routes.RouteV1().Routes(old.Namespace).Patch(ctx, old.Name, types.JSONPatchType, data, options)
}

// Retriable reports whether a request may be retried: after a conflict, or an error that does not
// say whether the write happened. It is false for permanent rejections.
func Retriable(err error) bool {
	status := apierrors.APIStatus(nil)
	if !errors.As(err, &status) {
		return !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded)
	}
	return apierrors.IsConflict(err) || apierrors.IsServerTimeout(err) || apierrors.IsTimeout(err) ||
		apierrors.IsTooManyRequests(err) || apierrors.IsInternalError(err) || apierrors.IsServiceUnavailable(err)
}

// Unanswered reports whether a write that failed with this error may have succeeded nevertheless.
func Unanswered(err error) bool {
	return !apierrors.IsConflict(err) && (Retriable(err) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded))
}
