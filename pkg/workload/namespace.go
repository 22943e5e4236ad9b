package workload

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes"
)

// Namespace is what a session looks at before it touches anything.
type Namespace struct {
	Name        string
	Services    []corev1.Service
	Slices      []discoveryv1.EndpointSlice
	Pods        []corev1.Pod
	ReplicaSets []appsv1.ReplicaSet
	// Selectors are all that may select a pod here: Services, controllers, budgets.
	Selectors []Selector
	// Unreadable names kinds that the caller may not list; nothing is known of them.
	Unreadable []string
}

// Selector is an object that selects pods.
type Selector struct {
	Kind, Name string
	labels.Selector
}

// String is kind/name.
func (s Selector) String() string { return s.Kind + "/" + s.Name }

// Read lists the namespace, each kind once. Services, EndpointSlices, pods and
// ReplicaSets are needed; a caller who may not list one of the others is told so by
// Unreadable.
func Read(ctx context.Context, core kubernetes.Interface, namespace string) (*Namespace, error) {
	ns := &Namespace{Name: namespace}
	all := metav1.ListOptions{}
	var (
		deployments *appsv1.DeploymentList
		stateful    *appsv1.StatefulSetList
		daemons     *appsv1.DaemonSetList
		replication *corev1.ReplicationControllerList
		budgets     *policyv1.PodDisruptionBudgetList
		unreadable  [5]bool
	)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		list, err := core.CoreV1().Services(namespace).List(ctx, all)
		if err == nil {
			ns.Services = list.Items
		}
		return needed("Services", err)
	})
	g.Go(func() error {
		list, err := core.DiscoveryV1().EndpointSlices(namespace).List(ctx, all)
		if err == nil {
			ns.Slices = list.Items
		}
		return needed("EndpointSlices", err)
	})
	g.Go(func() error {
		list, err := core.CoreV1().Pods(namespace).List(ctx, all)
		if err == nil {
			ns.Pods = list.Items
		}
		return needed("pods", err)
	})
	g.Go(func() error {
		list, err := core.AppsV1().ReplicaSets(namespace).List(ctx, all)
		if err == nil {
			ns.ReplicaSets = list.Items
		}
		return needed("ReplicaSets", err)
	})
	g.Go(func() (err error) {
		deployments, err = core.AppsV1().Deployments(namespace).List(ctx, all)
		return tolerated("Deployments", err, &unreadable[0])
	})
	g.Go(func() (err error) {
		stateful, err = core.AppsV1().StatefulSets(namespace).List(ctx, all)
		return tolerated("StatefulSets", err, &unreadable[1])
	})
	g.Go(func() (err error) {
		daemons, err = core.AppsV1().DaemonSets(namespace).List(ctx, all)
		return tolerated("DaemonSets", err, &unreadable[2])
	})
	g.Go(func() (err error) {
		replication, err = core.CoreV1().ReplicationControllers(namespace).List(ctx, all)
		return tolerated("ReplicationControllers", err, &unreadable[3])
	})
	g.Go(func() (err error) {
		budgets, err = core.PolicyV1().PodDisruptionBudgets(namespace).List(ctx, all)
		return tolerated("PodDisruptionBudgets", err, &unreadable[4])
	})
	if err := g.Wait(); err != nil {
		return nil, fmt.Errorf("namespace %s: %w", namespace, err)
	}
	for i, kind := range []string{"Deployments", "StatefulSets", "DaemonSets", "ReplicationControllers", "PodDisruptionBudgets"} {
		if unreadable[i] {
			ns.Unreadable = append(ns.Unreadable, kind)
		}
	}
	ns.collect(deployments.Items, stateful.Items, daemons.Items, replication.Items, budgets.Items)
	return ns, nil
}

func needed(kind string, err error) error {
	if err != nil {
		return fmt.Errorf("list %s: %w", kind, err)
	}
	return nil
}

// tolerated lets a refusal pass: the list is empty then.
func tolerated(kind string, err error, unreadable *bool) error {
	if apierrors.IsForbidden(err) {
		*unreadable = true
		return nil
	}
	return needed(kind, err)
}

func (ns *Namespace) collect(deployments []appsv1.Deployment, stateful []appsv1.StatefulSet, daemons []appsv1.DaemonSet,
	replication []corev1.ReplicationController, budgets []policyv1.PodDisruptionBudget) {
	for _, s := range ns.Services {
		if len(s.Spec.Selector) > 0 { // an empty one selects nothing
			ns.Selectors = append(ns.Selectors, Selector{"service", s.Name, labels.SelectorFromSet(s.Spec.Selector)})
		}
	}
	for _, r := range ns.ReplicaSets {
		ns.add("replicaset", r.Name, r.Spec.Selector)
	}
	for _, d := range deployments {
		ns.add("deployment", d.Name, d.Spec.Selector)
	}
	for _, s := range stateful {
		ns.add("statefulset", s.Name, s.Spec.Selector)
	}
	for _, d := range daemons {
		ns.add("daemonset", d.Name, d.Spec.Selector)
	}
	for _, r := range replication {
		ns.Selectors = append(ns.Selectors, Selector{"replicationcontroller", r.Name, labels.SelectorFromSet(r.Spec.Selector)})
	}
	for _, b := range budgets {
		ns.add("poddisruptionbudget", b.Name, b.Spec.Selector)
	}
}

// add takes an apps/v1 or policy/v1 selector: empty selects everything, nil nothing.
func (ns *Namespace) add(kind, name string, selector *metav1.LabelSelector) {
	s, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		return // the API server validated it: a selector newer than this client matches nothing for us
	}
	ns.Selectors = append(ns.Selectors, Selector{kind, name, s})
}

// Service returns a Service by name, nil when there is none.
func (ns *Namespace) Service(name string) *corev1.Service {
	for i := range ns.Services {
		if ns.Services[i].Name == name {
			return &ns.Services[i]
		}
	}
	return nil
}
