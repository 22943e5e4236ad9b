package guard

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"

	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/osc-debug/osc-debug/pkg/guard/standby"
	"github.com/osc-debug/osc-debug/pkg/settings"
)

// needs are the rights that ending a session takes in its namespace.
var needs = []authorizationv1.ResourceAttributes{
	{Group: "route.openshift.io", Resource: "routes", Verb: "get"},
	{Group: "route.openshift.io", Resource: "routes", Verb: "list"},
	{Group: "route.openshift.io", Resource: "routes", Verb: "watch"},
	{Group: "route.openshift.io", Resource: "routes", Verb: "patch"},
	{Resource: "services", Verb: "list"},
	{Resource: "services", Verb: "watch"},
	{Resource: "services", Verb: "delete"},
	{Resource: "pods", Verb: "list"},
	{Resource: "pods", Verb: "watch"},
	{Resource: "pods", Verb: "delete"},
	{Group: "discovery.k8s.io", Resource: "endpointslices", Verb: "list"},
	{Group: "discovery.k8s.io", Resource: "endpointslices", Verb: "watch"},
}

// allow gives the namespaces in which the guard may do all it has to, and those in which it
// lacks a right, which the log names. What was allowed once is asked for again only after a
// request was forbidden: to begin again with many namespaces must not outlast the Lease.
func (g *Guard) allow(ctx context.Context, namespaces []string) (allowed, missing []string, err error) {
	for _, namespace := range namespaces {
		if !g.rights.known(namespace) {
			lacks, err := lacking(ctx, g.Urgent.Core, namespace, needs)
			if err != nil {
				return nil, nil, err
			}
			if lacks != "" {
				g.Log.Warn("namespace not watched: the guard lacks a right", "namespace", namespace, "right", lacks)
				missing = append(missing, namespace)
				continue
			}
			g.rights.note(namespace, true)
		}
		allowed = append(allowed, namespace)
	}
	return allowed, missing, nil
}

// rights remembers the namespaces in which the guard was found to have all rights, from one
// life to the next.
type rights struct {
	mu  sync.Mutex
	has map[string]bool
}

func (r *rights) known(namespace string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.has[namespace]
}

func (r *rights) note(namespace string, has bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.has == nil {
		r.has = map[string]bool{}
	}
	r.has[namespace] = has
}

// seesNodes says whether the guard may look at nodes, which one without rights in the
// whole cluster may not.
func seesNodes(ctx context.Context, core kubernetes.Interface) (bool, error) {
	lacks, err := lacking(ctx, core, settings.AllNamespaces, []authorizationv1.ResourceAttributes{
		{Resource: "nodes", Verb: "get"}, {Resource: "nodes", Verb: "list"}, {Resource: "nodes", Verb: "watch"},
	})
	return lacks == "", err
}

// lacking is the first of some rights that the guard has not.
func lacking(ctx context.Context, core kubernetes.Interface, namespace string, needs []authorizationv1.ResourceAttributes) (string, error) {
	for _, need := range needs {
		need.Namespace = namespace
		if namespace == settings.AllNamespaces {
			need.Namespace = metav1.NamespaceAll
		}
		review, err := core.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, &authorizationv1.SelfSubjectAccessReview{
			Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &need},
		}, metav1.CreateOptions{})
		if err != nil {
			return "", fmt.Errorf("ask for the guard's own rights: %w", err)
		}
		if !review.Status.Allowed {
			return need.Verb + " " + need.Resource, nil
		}
	}
	return "", nil
}

// publish writes down what the guard covers, for the command to read. The ConfigMap
// comes with the guard's manifests: the guard may not create one.
func publish(ctx context.Context, core kubernetes.Interface, home string, status standby.Status) error {
	data, err := json.Marshal(map[string]any{"data": status.Data()})
	if err != nil {
		return err
	}
	_, err = core.CoreV1().ConfigMaps(home).Patch(ctx, settings.StatusName, types.MergePatchType, data, metav1.PatchOptions{FieldManager: "osc-guard"})
	if apierrors.IsNotFound(err) {
		return fmt.Errorf("ConfigMap %s/%s is not there: apply the guard's manifests again: %w", home, settings.StatusName, err)
	}
	return err
}
