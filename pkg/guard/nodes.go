package guard

import (
	"context"
	"fmt"

	routev1 "github.com/openshift/api/route/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/tools/cache"

	"github.com/osc-debug/osc-debug/pkg/session/record"
)

// byNode is the index of the pod cache by node name.
const byNode = "node"

// watchNodes makes the cache of cordoned nodes, because a node's drain begins with a cordon. It does not
// watch other nodes, so that the heartbeats of a large cluster cost nothing.
func (g *Guard) watchNodes() error {
	g.nodes = g.newInformer(g.Urgent.Core.CoreV1().RESTClient(), "nodes", metav1.NamespaceAll, &corev1.Node{}, func(o *metav1.ListOptions) {
		o.FieldSelector = fields.OneTermEqualSelector("spec.unschedulable", "true").String()
	})
	if err := g.nodes.SetTransform(func(o any) (any, error) {
		if n, ok := o.(*corev1.Node); ok {
			return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: n.Name, ResourceVersion: n.ResourceVersion}}, nil
		}
		return o, nil
	}); err != nil {
		return err
	}
	_, err := g.nodes.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: func(o any) {
		n, ok := o.(*corev1.Node)
		if !ok {
			return
		}
		for _, c := range g.caches {
			pods, err := c.pods.GetIndexer().ByIndex(byNode, n.Name)
			if err != nil {
				continue // cannot happen: every cache has the index
			}
			for _, p := range pods {
				for _, k := range c.keysOf(p) {
					g.enqueue(k, true)
				}
			}
		}
	}})
	return err
}

// cordonedNodes lists the cordoned nodes that run a session's pods, by the caches. Because a cordoned
// node ends the session, a pod to which another user gave the session's marks must not count.
func (g *Guard) cordonedNodes(c *caches, k key, r *routev1.Route) []string {
	if g.nodes == nil {
		return nil
	}
	var j *record.Journal
	if s := sessionOf(r); s != nil {
		j = s.Journal
	}
	var out []string
	for _, p := range c.podsOf(k) {
		if !record.NamesPod(p.Name, k.id, j) {
			continue
		}
		if _, found, err := g.nodes.GetStore().GetByKey(p.node); err == nil && found {
			out = append(out, p.node)
		}
	}
	return out
}

// anyStillCordoned reads nodes that are cordoned by the cache, and reports whether one still is.
func (g *Guard) anyStillCordoned(ctx context.Context, names []string) (bool, error) {
	for _, name := range names {
		n, err := g.Urgent.Core.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err), apierrors.IsForbidden(err): // without permission to read nodes, sessions must still be ended
		case err != nil:
			return false, fmt.Errorf("read node %s: %w", name, err)
		case n.Spec.Unschedulable:
			return true, nil
		}
	}
	return false, nil
}
