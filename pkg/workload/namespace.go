package workload

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// Namespace holds the objects of a namespace that a session reads before it changes anything.
type Namespace struct {
	Name                   string
	Services               []corev1.Service
	Slices                 []discoveryv1.EndpointSlice
	Pods                   []corev1.Pod
	ReplicaSets            []appsv1.ReplicaSet
	StatefulSets           []appsv1.StatefulSet
	DaemonSets             []appsv1.DaemonSet
	ReplicationControllers []corev1.ReplicationController
	Budgets                []policyv1.PodDisruptionBudget
	Policies               []networkingv1.NetworkPolicy
	Autoscalers            []autoscalingv2.HorizontalPodAutoscaler
	// SlicesVersion is the resourceVersion of the list of Slices, from which to watch.
	SlicesVersion string
	// Set by ReadDetails, for the workloads that need them.
	Deployments []appsv1.Deployment
	Leases      []coordinationv1.Lease
	NoLeases    bool // the caller may not list Leases
	Revisions   []appsv1.ControllerRevision
	Claims      []corev1.PersistentVolumeClaim
	// Set by Limits.
	Quotas []corev1.ResourceQuota
	Ranges []corev1.LimitRange
	// Unreadable lists the kinds that the caller may not list, sorted. Their lists are empty.
	Unreadable []string
}

// lister lists the kinds of a namespace concurrently.
type lister struct {
	*errgroup.Group
	ns *Namespace
	mu sync.Mutex
}

// require runs list and fails if it fails.
func (l *lister) require(kind string, list func() error) {
	l.Go(func() error {
		if err := list(); err != nil {
			return fmt.Errorf("namespace %s: list %s: %w", l.ns.Name, kind, err)
		}
		return nil
	})
}

// request runs list and, if it is forbidden, adds kind to Unreadable instead of failing.
func (l *lister) request(kind string, list func() error) {
	l.require(kind, func() error {
		err := list()
		if apierrors.IsForbidden(err) {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.ns.Unreadable = append(l.ns.Unreadable, kind)
			return nil
		}
		return err
	})
}

// into makes a function that lists objects of one kind and passes the list to take.
func into[L any](ctx context.Context, list func(context.Context, metav1.ListOptions) (L, error), take func(L)) func() error {
	return func() error {
		all, err := list(ctx, metav1.ListOptions{})
		if err == nil {
			take(all)
		}
		return err
	}
}

func (l *lister) finish() error {
	err := l.Wait()
	slices.Sort(l.ns.Unreadable)
	return err
}

// Read lists the namespace's objects, each kind once. It fails if Services, EndpointSlices, pods or
// ReplicaSets cannot be listed. Other kinds that the caller may not list are added to Unreadable.
func Read(ctx context.Context, core kubernetes.Interface, namespace string) (*Namespace, error) {
	ns := &Namespace{Name: namespace}
	g, ctx := errgroup.WithContext(ctx)
	l := &lister{Group: g, ns: ns}
	l.require("Services", into(ctx, core.CoreV1().Services(namespace).List, func(l *corev1.ServiceList) { ns.Services = l.Items }))
	l.require("EndpointSlices", into(ctx, core.DiscoveryV1().EndpointSlices(namespace).List, func(l *discoveryv1.EndpointSliceList) { ns.Slices, ns.SlicesVersion = l.Items, l.ResourceVersion }))
	l.require("pods", into(ctx, core.CoreV1().Pods(namespace).List, func(l *corev1.PodList) { ns.Pods = l.Items }))
	l.require("ReplicaSets", into(ctx, core.AppsV1().ReplicaSets(namespace).List, func(l *appsv1.ReplicaSetList) { ns.ReplicaSets = l.Items }))
	l.request("StatefulSets", into(ctx, core.AppsV1().StatefulSets(namespace).List, func(l *appsv1.StatefulSetList) { ns.StatefulSets = l.Items }))
	l.request("DaemonSets", into(ctx, core.AppsV1().DaemonSets(namespace).List, func(l *appsv1.DaemonSetList) { ns.DaemonSets = l.Items }))
	l.request("ReplicationControllers", into(ctx, core.CoreV1().ReplicationControllers(namespace).List, func(l *corev1.ReplicationControllerList) { ns.ReplicationControllers = l.Items }))
	l.request("PodDisruptionBudgets", into(ctx, core.PolicyV1().PodDisruptionBudgets(namespace).List, func(l *policyv1.PodDisruptionBudgetList) { ns.Budgets = l.Items }))
	l.request("NetworkPolicies", into(ctx, core.NetworkingV1().NetworkPolicies(namespace).List, func(l *networkingv1.NetworkPolicyList) { ns.Policies = l.Items }))
	l.request("HorizontalPodAutoscalers", into(ctx, core.AutoscalingV2().HorizontalPodAutoscalers(namespace).List, func(l *autoscalingv2.HorizontalPodAutoscalerList) { ns.Autoscalers = l.Items }))
	return ns, l.finish()
}

// ReadDetails lists what only some workloads need: ControllerRevisions for the pods of StatefulSets
// and DaemonSets, PersistentVolumeClaims if pods of the Service mount any, and Deployments if ReplicaSets own
// them. It lists Leases if the caller may; without them, nobody knows whether a pod holds one.
func (ns *Namespace) ReadDetails(ctx context.Context, core kubernetes.Interface, service string) error {
	g, ctx := errgroup.WithContext(ctx)
	l := &lister{Group: g, ns: ns}
	var revisions, claims, deployments bool
	for _, pod := range ns.Behind(service) {
		owner := metav1.GetControllerOf(&pod)
		revisions = revisions || owner != nil && (owner.Kind == kindStatefulSet || owner.Kind == kindDaemonSet)
		deployments = deployments || owner != nil && owner.Kind == kindReplicaSet
		claims = claims || slices.ContainsFunc(pod.Spec.Volumes, func(v corev1.Volume) bool { return v.PersistentVolumeClaim != nil })
	}
	if revisions {
		l.require("ControllerRevisions", into(ctx, core.AppsV1().ControllerRevisions(ns.Name).List, func(l *appsv1.ControllerRevisionList) { ns.Revisions = l.Items }))
	}
	if deployments {
		l.request("Deployments", into(ctx, core.AppsV1().Deployments(ns.Name).List, func(l *appsv1.DeploymentList) { ns.Deployments = l.Items }))
	}
	l.Go(func() error {
		list, err := core.CoordinationV1().Leases(ns.Name).List(ctx, metav1.ListOptions{})
		switch {
		case apierrors.IsForbidden(err):
			ns.NoLeases = true
		case err != nil:
			return fmt.Errorf("list Leases: %w", err)
		default:
			ns.Leases = list.Items
		}
		return nil
	})
	if claims {
		l.request("PersistentVolumeClaims", into(ctx, core.CoreV1().PersistentVolumeClaims(ns.Name).List, func(l *corev1.PersistentVolumeClaimList) { ns.Claims = l.Items }))
	}
	return l.finish()
}

// Limits lists the namespace's ResourceQuotas and LimitRanges. They are needed only if the API server
// rejects a pod, or for several pods: a dry run checks just one.
func (ns *Namespace) Limits(ctx context.Context, core kubernetes.Interface) error {
	g, ctx := errgroup.WithContext(ctx)
	l := &lister{Group: g, ns: ns}
	namespace := ns.Name
	l.request("ResourceQuotas", into(ctx, core.CoreV1().ResourceQuotas(namespace).List, func(l *corev1.ResourceQuotaList) { ns.Quotas = l.Items }))
	l.request("LimitRanges", into(ctx, core.CoreV1().LimitRanges(namespace).List, func(l *corev1.LimitRangeList) { ns.Ranges = l.Items }))
	return l.finish()
}

// Service returns the Service with a name, nil if there is none.
func (ns *Namespace) Service(name string) *corev1.Service {
	for i := range ns.Services {
		if ns.Services[i].Name == name {
			return &ns.Services[i]
		}
	}
	return nil
}

// Claim returns the PersistentVolumeClaim with a name, nil if it was not read.
func (ns *Namespace) Claim(name string) *corev1.PersistentVolumeClaim {
	for i := range ns.Claims {
		if ns.Claims[i].Name == name {
			return &ns.Claims[i]
		}
	}
	return nil
}
