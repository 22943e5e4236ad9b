package workload

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// Namespace is what a session looks at before it touches anything.
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
	// SlicesVersion is the resourceVersion of the list of Slices, to watch from.
	SlicesVersion string
	// Read by Describe, for the workloads that need them.
	Revisions []appsv1.ControllerRevision
	Claims    []corev1.PersistentVolumeClaim
	// Read by Limits.
	Quotas []corev1.ResourceQuota
	Ranges []corev1.LimitRange
	// Unreadable names kinds that the caller may not list; nothing is known of them.
	Unreadable []string
}

// lists makes lists of a namespace, several at once.
type lists struct {
	*errgroup.Group
	ns *Namespace
	mu sync.Mutex
}

// need makes a list without which nothing can be said.
func (l *lists) need(kind string, list func() error) {
	l.Go(func() error {
		if err := list(); err != nil {
			return fmt.Errorf("namespace %s: list %s: %w", l.ns.Name, kind, err)
		}
		return nil
	})
}

// want makes a list that the caller may lack the right for.
func (l *lists) want(kind string, list func() error) {
	l.need(kind, func() error {
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

func (l *lists) wait() error {
	err := l.Wait()
	slices.Sort(l.ns.Unreadable)
	return err
}

// Read lists the namespace, each kind once. Services, EndpointSlices, pods and
// ReplicaSets are needed; a caller who may not list one of the others is told so by
// Unreadable.
func Read(ctx context.Context, core kubernetes.Interface, namespace string) (*Namespace, error) {
	ns := &Namespace{Name: namespace}
	g, ctx := errgroup.WithContext(ctx)
	l := &lists{Group: g, ns: ns}
	all := metav1.ListOptions{}
	l.need("Services", func() error {
		list, err := core.CoreV1().Services(namespace).List(ctx, all)
		if err == nil {
			ns.Services = list.Items
		}
		return err
	})
	l.need("EndpointSlices", func() error {
		list, err := core.DiscoveryV1().EndpointSlices(namespace).List(ctx, all)
		if err == nil {
			ns.Slices, ns.SlicesVersion = list.Items, list.ResourceVersion
		}
		return err
	})
	l.need("pods", func() error {
		list, err := core.CoreV1().Pods(namespace).List(ctx, all)
		if err == nil {
			ns.Pods = list.Items
		}
		return err
	})
	l.need("ReplicaSets", func() error {
		list, err := core.AppsV1().ReplicaSets(namespace).List(ctx, all)
		if err == nil {
			ns.ReplicaSets = list.Items
		}
		return err
	})
	l.want("StatefulSets", func() error {
		list, err := core.AppsV1().StatefulSets(namespace).List(ctx, all)
		if err == nil {
			ns.StatefulSets = list.Items
		}
		return err
	})
	l.want("DaemonSets", func() error {
		list, err := core.AppsV1().DaemonSets(namespace).List(ctx, all)
		if err == nil {
			ns.DaemonSets = list.Items
		}
		return err
	})
	l.want("ReplicationControllers", func() error {
		list, err := core.CoreV1().ReplicationControllers(namespace).List(ctx, all)
		if err == nil {
			ns.ReplicationControllers = list.Items
		}
		return err
	})
	l.want("PodDisruptionBudgets", func() error {
		list, err := core.PolicyV1().PodDisruptionBudgets(namespace).List(ctx, all)
		if err == nil {
			ns.Budgets = list.Items
		}
		return err
	})
	l.want("NetworkPolicies", func() error {
		list, err := core.NetworkingV1().NetworkPolicies(namespace).List(ctx, all)
		if err == nil {
			ns.Policies = list.Items
		}
		return err
	})
	l.want("HorizontalPodAutoscalers", func() error {
		list, err := core.AutoscalingV2().HorizontalPodAutoscalers(namespace).List(ctx, all)
		if err == nil {
			ns.Autoscalers = list.Items
		}
		return err
	})
	return ns, l.wait()
}

// Describe reads what only some workloads need to be understood: the revisions of
// StatefulSets and DaemonSets, the claims that pods of the Service mount.
func (ns *Namespace) Describe(ctx context.Context, core kubernetes.Interface, service string) error {
	g, ctx := errgroup.WithContext(ctx)
	l := &lists{Group: g, ns: ns}
	var revisions, claims bool
	for _, pod := range ns.Behind(service) {
		owner := metav1.GetControllerOf(&pod)
		revisions = revisions || owner != nil && (owner.Kind == kindStatefulSet || owner.Kind == kindDaemonSet)
		claims = claims || slices.ContainsFunc(pod.Spec.Volumes, func(v corev1.Volume) bool { return v.PersistentVolumeClaim != nil })
	}
	if revisions {
		l.need("ControllerRevisions", func() error {
			list, err := core.AppsV1().ControllerRevisions(ns.Name).List(ctx, metav1.ListOptions{})
			if err == nil {
				ns.Revisions = list.Items
			}
			return err
		})
	}
	if claims {
		l.want("PersistentVolumeClaims", func() error {
			list, err := core.CoreV1().PersistentVolumeClaims(ns.Name).List(ctx, metav1.ListOptions{})
			if err == nil {
				ns.Claims = list.Items
			}
			return err
		})
	}
	return l.wait()
}

// Limits reads what bounds the namespace's pods. Only where the API server refuses one, or
// several are to be made, is more to be known than its own judgement.
func (ns *Namespace) Limits(ctx context.Context, core kubernetes.Interface) error {
	g, ctx := errgroup.WithContext(ctx)
	l := &lists{Group: g, ns: ns}
	all := metav1.ListOptions{}
	namespace := ns.Name
	l.want("ResourceQuotas", func() error {
		list, err := core.CoreV1().ResourceQuotas(namespace).List(ctx, all)
		if err == nil {
			ns.Quotas = list.Items
		}
		return err
	})
	l.want("LimitRanges", func() error {
		list, err := core.CoreV1().LimitRanges(namespace).List(ctx, all)
		if err == nil {
			ns.Ranges = list.Items
		}
		return err
	})
	return l.wait()
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

// Claim returns a claim by name, nil when it is not known.
func (ns *Namespace) Claim(name string) *corev1.PersistentVolumeClaim {
	for i := range ns.Claims {
		if ns.Claims[i].Name == name {
			return &ns.Claims[i]
		}
	}
	return nil
}
