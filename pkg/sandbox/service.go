package sandbox

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/route"
	"github.com/osc-debug/osc-debug/pkg/workload"
)

// Service returns the sandbox's Service. It has exactly the ports of the primary Service that the Route
// uses, with their names: where the Route names no port, any further port would become a server of the
// backend. It never publishes addresses that are not ready. The error has reason PortNotOfService if
// the primary Service does not have the Route's port.
func Service(in Input) (*corev1.Service, error) {
	var ports []corev1.ServicePort
	for _, p := range in.Service.Spec.Ports {
		if p.Protocol == corev1.ProtocolUDP || !route.UsesPort(in.Route, p.Name, in.targetPort(p)) {
			continue
		}
		p.NodePort = 0
		ports = append(ports, p)
	}
	if len(ports) == 0 {
		return nil, reason.New(reason.PortNotOfService,
			"namespace", in.Route.Namespace, "route", in.Route.Name, "port", in.Route.Spec.Port.TargetPort.String(), "service", in.Service.Name)
	}
	meta := in.objectMeta()
	if _, own := in.servingSecrets(); own != "" {
		meta.Annotations[servingAnnotations[0]] = own
	}
	return &corev1.Service{
		ObjectMeta: meta,
		Spec:       corev1.ServiceSpec{Selector: withSession(nil, in.Session), Ports: ports, Type: corev1.ServiceTypeClusterIP},
	}, nil
}

// Budget returns the PodDisruptionBudget that delays the drain of a node with sandbox pods. The guard
// notices that the node is cordoned, restores the Route and deletes the sandbox. Pods that are not
// ready may be evicted at once.
func Budget(in Input) *policyv1.PodDisruptionBudget {
	all, always := intstr.FromInt(in.Replicas), policyv1.AlwaysAllow
	return &policyv1.PodDisruptionBudget{
		ObjectMeta: in.objectMeta(),
		Spec: policyv1.PodDisruptionBudgetSpec{
			MinAvailable: &all, UnhealthyPodEvictionPolicy: &always,
			Selector: &metav1.LabelSelector{MatchLabels: withSession(nil, in.Session)},
		},
	}
}

// servers returns the containers that can serve: the program's own, and its native sidecars, which are init
// containers that are always restarted.
func (in Input) servers() []corev1.Container {
	out := slices.Clone(in.Program.Spec.Containers)
	for _, c := range in.Program.Spec.InitContainers {
		if workload.IsNativeSidecar(c) {
			out = append(out, c)
		}
	}
	return out
}

// targetPort returns the port number in the endpoints of a Service port, 0 if no container declares the
// named port.
func (in Input) targetPort(p corev1.ServicePort) int32 {
	switch {
	case p.TargetPort.Type == intstr.Int && p.TargetPort.IntVal != 0:
		return p.TargetPort.IntVal
	case p.TargetPort.Type == intstr.Int:
		return p.Port
	}
	for _, c := range in.servers() {
		for _, cp := range c.Ports {
			if cp.Name == p.TargetPort.StrVal {
				return cp.ContainerPort
			}
		}
	}
	return 0
}
