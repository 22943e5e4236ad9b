package guard

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/osc-debug/osc-debug/pkg/guard/standby"
	"github.com/osc-debug/osc-debug/pkg/rights"
	"github.com/osc-debug/osc-debug/pkg/settings"
)

// splitByRights splits namespaces into those in which the guard has all required permissions and those
// in which it lacks one, which it logs. It checks a namespace that was allowed before only after a
// request there was forbidden, because a restart with many namespaces must not take longer than the
// Lease lasts.
func (g *Guard) splitByRights(ctx context.Context, namespaces []string) (allowed, missing []string, err error) {
	for _, namespace := range namespaces {
		if !g.rights.isAllowed(namespace) {
			lacks, err := missingRight(ctx, g.Urgent.Core, namespace, rights.Guard)
			if err != nil {
				return nil, nil, err
			}
			if lacks != "" {
				g.Log.Warn("not watching namespace: the guard lacks a permission", "namespace", namespace, "right", lacks)
				missing = append(missing, namespace)
				continue
			}
			g.rights.set(namespace, true)
		}
		allowed = append(allowed, namespace)
	}
	return allowed, missing, nil
}

// rightsCache stores the namespaces in which the guard has all required permissions, for the next Guard
// too.
type rightsCache struct {
	mu      sync.Mutex
	allowed map[string]bool
	asked   map[string]time.Time // when isDue last returned true
}

// rightsPause is the time between two checks of the permissions in a namespace after forbidden writes. Each
// check takes as many requests as there are permissions, and a tenant can have thousands of writes forbidden
// by a policy. A forbidden list or watch is checked at once: a permission is certainly missing then, and the
// caches do not sync before the guard has stopped watching that namespace.
const rightsPause = 30 * time.Second

// isDue reports whether the permissions in a namespace were not checked within rightsPause, and notes that
// they are now.
func (r *rightsCache) isDue(namespace string, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.asked == nil {
		r.asked = map[string]time.Time{}
	}
	if last, ok := r.asked[namespace]; ok && now.Sub(last) < rightsPause {
		return false
	}
	r.asked[namespace] = now
	return true
}

// isAllowed reports whether the guard had all required permissions in a namespace when last checked.
func (r *rightsCache) isAllowed(namespace string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.allowed[namespace]
}

// set stores the result of a check.
func (r *rightsCache) set(namespace string, allowed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.allowed == nil {
		r.allowed = map[string]bool{}
	}
	r.allowed[namespace] = allowed
}

// canSeeNodes reports whether the guard can read nodes. A guard without cluster-wide permissions, such
// as a team's, cannot.
func canSeeNodes(ctx context.Context, core kubernetes.Interface) (bool, error) {
	lacks, err := missingRight(ctx, core, settings.AllNamespaces, rights.Nodes)
	return lacks == "", err
}

// missingRight returns the first permission that the guard lacks in a namespace (or AllNamespaces), and
// "" if it has all.
func missingRight(ctx context.Context, core kubernetes.Interface, namespace string, required []rights.Right) (string, error) {
	if namespace == settings.AllNamespaces {
		namespace = metav1.NamespaceAll
	}
	for _, right := range required {
		attributes := authorizationv1.ResourceAttributes{Namespace: namespace, Group: right.Group, Resource: right.Resource, Verb: right.Verb}
		review, err := core.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, &authorizationv1.SelfSubjectAccessReview{
			Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &attributes},
		}, metav1.CreateOptions{})
		if err != nil {
			return "", fmt.Errorf("check the guard's permissions: %w", err)
		}
		if !review.Status.Allowed {
			return right.String(), nil
		}
	}
	return "", nil
}

// writeStatus writes the guard's status to its ConfigMap, which commands read. The ConfigMap is part of
// the guard's manifests, because the guard has no permission to create one.
func writeStatus(ctx context.Context, core kubernetes.Interface, home string, status standby.Status) error {
	data, err := json.Marshal(map[string]any{"data": status.Data()})
	if err != nil {
		return err
	}
	_, err = core.CoreV1().ConfigMaps(home).Patch(ctx, settings.StatusName, types.MergePatchType, data, metav1.PatchOptions{FieldManager: "osc-guard"})
	if apierrors.IsNotFound(err) {
		return fmt.Errorf("ConfigMap %s/%s not found (apply the guard's manifests again): %w", home, settings.StatusName, err)
	}
	return err
}
