package guard

import (
	"context"
	"fmt"

	routev1 "github.com/openshift/api/route/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	"github.com/osc-debug/osc-debug/pkg/session/record"
)

// byNode is the index of pods by the node that they are on.
const byNode = "node"

// watchNodes makes the cache of cordoned nodes: others are not asked for, so that a large
// cluster's heartbeats cost nothing. A drain begins with a cordon.
func (g *Guard) watchNodes() error {
	nodes := g.Urgent.Core.CoreV1().Nodes()
	cordoned := func(o *metav1.ListOptions) {
		o.FieldSelector = fields.OneTermEqualSelector("spec.unschedulable", "true").String()
	}
	g.nodes = cache.NewSharedIndexInformer(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			cordoned(&o)
			return nodes.List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			cordoned(&o)
			w, err := nodes.Watch(ctx, o)
			if err != nil {
				return nil, err
			}
			return expiring(w, g.Relist), nil
		},
	}, &corev1.Node{}, 0, cache.Indexers{})
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
		for _, w := range g.watched {
			pods, err := w.pods.GetIndexer().ByIndex(byNode, n.Name)
			if err != nil {
				continue // the index is there: it was made with the cache
			}
			for _, p := range pods {
				for _, k := range w.keysOf(p) {
					g.look(k, true)
				}
			}
		}
	}})
	return err
}

// cordoned lists the cordoned nodes that a session's own pods are on, by the caches: traffic
// goes by what it says, so a pod that somebody else gave the session's marks must not count.
func (g *Guard) cordoned(w *watched, k key, r *routev1.Route) []string {
	if g.nodes == nil {
		return nil
	}
	var j *record.Journal
	if s := sessionOf(r); s != nil {
		j = s.Journal
	}
	var out []string
	for _, p := range w.podsOf(k) {
		if !record.NamesPod(p.Name, k.id, j) {
			continue
		}
		if _, is, err := g.nodes.GetStore().GetByKey(p.Spec.NodeName); err == nil && is {
			out = append(out, p.Spec.NodeName)
		}
	}
	return out
}

// stillCordoned reads nodes that the caches call cordoned.
func (g *Guard) stillCordoned(ctx context.Context, names []string) (bool, error) {
	for _, name := range names {
		n, err := g.Urgent.Core.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err), apierrors.IsForbidden(err): // a lost right to nodes must not keep a session from its end
		case err != nil:
			return false, fmt.Errorf("read node %s: %w", name, err)
		case n.Spec.Unschedulable:
			return true, nil
		}
	}
	return false, nil
}
