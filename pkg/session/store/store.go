// Package store writes sessions to the cluster with the caller's own rights: the four patches of a
// Route, and the end of a session with all that it created.
package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
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

// Store writes sessions to the cluster with the caller's own rights.
type Store struct {
	Routes routeclient.Interface
	Core   kubernetes.Interface
	// Once has a write tried once: who judged the Route must judge it again after a conflict.
	Once bool
	// Outage is what the clients' requests for Routes went through; nil: not known.
	Outage *kube.Outage
}

// attempts bounds how often a write is tried on fresh state.
const attempts = 5

// Arm takes the Route for a session. It writes into the journal what the Route was.
func (s Store) Arm(ctx context.Context, r *routev1.Route, j *record.Journal) (*routev1.Route, error) {
	return s.write(ctx, r.Namespace, r.Name, r, record.ArmRoute(j, r))
}

// CheckArm has the API server judge the first patch without storing it.
func (s Store) CheckArm(ctx context.Context, r *routev1.Route, j *record.Journal) (*routev1.Route, error) {
	copied := *j
	return s.writeWith(ctx, r.Namespace, r.Name, r, record.ArmRoute(&copied, r), metav1.PatchOptions{FieldManager: record.FieldManager, DryRun: []string{metav1.DryRunAll}})
}

// Shift sets the weights of every backend, by Service name. It resumes a held session if r
// shows it held; one that is held since is left so.
func (s Store) Shift(ctx context.Context, r *routev1.Route, j *record.Journal, weights map[string]int32) (*routev1.Route, error) {
	known := record.Of(r)
	return s.write(ctx, r.Namespace, r.Name, r, record.ShiftRoute(j, weights, known != nil && known.State == record.Held))
}

// Hold takes traffic off the sandbox and keeps it, to be looked at.
func (s Store) Hold(ctx context.Context, r *routev1.Route, id string) (*routev1.Route, error) {
	return s.write(ctx, r.Namespace, r.Name, r, record.HoldRoute(id))
}

// Extend moves the end of a session.
func (s Store) Extend(ctx context.Context, r *routev1.Route, id string, expires time.Time) (*routev1.Route, error) {
	return s.write(ctx, r.Namespace, r.Name, r, record.ExtendRoute(id, metav1.NewTime(expires.Truncate(time.Second))))
}

// Restore puts the Route back and returns it. known is the Route with the session's marks
// as it was last seen, nil to read it. A Route that is gone counts as changed by others.
func (s Store) Restore(ctx context.Context, namespace, name, id string, known *routev1.Route) (*routev1.Route, record.Outcome, error) {
	if known != nil && record.Of(known) == nil {
		known = nil // it may have marks by now: a write whose answer was lost
	}
	var out record.Outcome
	r, err := s.write(ctx, namespace, name, known, record.RestoreRoute(id, &out))
	if apierrors.IsNotFound(err) {
		return nil, record.Outcome{Foreign: true}, nil
	}
	return r, out, err
}

// Close removes the last marks from the Route, which was last seen as r (nil: unknown).
func (s Store) Close(ctx context.Context, namespace, name, id string, r *routev1.Route) error {
	_, err := s.write(ctx, namespace, name, r, record.CloseRoute(id))
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// write applies a change to the Route as it was read (read afresh when nil), and again
// on fresh state after a conflict or an answer that was lost, at most five times.
func (s Store) write(ctx context.Context, namespace, name string, r *routev1.Route, c record.Change) (*routev1.Route, error) {
	return s.writeWith(ctx, namespace, name, r, c, metav1.PatchOptions{FieldManager: record.FieldManager})
}

func (s Store) writeWith(ctx context.Context, namespace, name string, r *routev1.Route, c record.Change, options metav1.PatchOptions) (*routev1.Route, error) {
	var last error
	invalid := "" // resourceVersion of the Route on which a patch made no sense
	for try := range attempts {
		if try > 0 {
			if err := pause(ctx, try); err != nil {
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
		written, err := s.patch(ctx, r, changed, options)
		if err == nil {
			return written, nil
		}
		if s.Once {
			return nil, fmt.Errorf("write route %s/%s: %w", namespace, name, err)
		}
		if apierrors.IsInvalid(err) {
			// A patch that removes what somebody else removed meanwhile is refused before
			// its resourceVersion is looked at: try again if the Route has changed.
			invalid = r.ResourceVersion
		} else if !Retriable(err) {
			return nil, fmt.Errorf("write route %s/%s: %w", namespace, name, err)
		}
		last, r = err, nil
	}
	return nil, fmt.Errorf("write route %s/%s: gave up after %d tries: %w", namespace, name, attempts, last)
}

func (s Store) patch(ctx context.Context, old, changed *routev1.Route, options metav1.PatchOptions) (*routev1.Route, error) {
	data, err := json.Marshal(record.Diff(old, changed))
	if err != nil {
		return nil, err
	}
	return s.Routes.RouteV1().Routes(old.Namespace).Patch(ctx, old.Name, types.JSONPatchType, data, options)
}

// Retriable: a conflict, or an error that does not tell whether the write happened.
// What the API server refuses for good is not tried again.
func Retriable(err error) bool {
	status := apierrors.APIStatus(nil)
	if !errors.As(err, &status) {
		return !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded)
	}
	return apierrors.IsConflict(err) || apierrors.IsServerTimeout(err) || apierrors.IsTimeout(err) ||
		apierrors.IsTooManyRequests(err) || apierrors.IsInternalError(err) || apierrors.IsServiceUnavailable(err)
}

// Unanswered says whether a write that failed with this error may have happened all the same.
func Unanswered(err error) bool {
	return !apierrors.IsConflict(err) && (Retriable(err) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded))
}

// pause waits 50 ms, doubled at each try, with jitter of half as much again.
func pause(ctx context.Context, try int) error {
	d := 50 * time.Millisecond << (try - 1)
	d += rand.N(d / 2)
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
