package sandbox

import (
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/route"
)

// Service makes the sandbox's Service. It has exactly the ports, names included, that
// the Route uses of the primary Service: one more would be one more backend server
// where the Route names no port. It never publishes addresses that are not ready.
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
	meta := in.meta()
	if _, own := in.serving(); own != "" {
		meta.Annotations[servingKeys[0]] = own
	}
	return &corev1.Service{
		ObjectMeta: meta,
		Spec:       corev1.ServiceSpec{Selector: withSession(nil, in.Session), Ports: ports, Type: corev1.ServiceTypeClusterIP},
	}, nil
}

// Budget keeps the sandbox's pods on a node that is drained until the guard, which sees
// that the node is cordoned, has given their traffic back and lets them go. Pods that are
// not ready hold up nobody.
func Budget(in Input) *policyv1.PodDisruptionBudget {
	all, always := intstr.FromInt(in.Replicas), policyv1.AlwaysAllow
	return &policyv1.PodDisruptionBudget{
		ObjectMeta: in.meta(),
		Spec: policyv1.PodDisruptionBudgetSpec{
			MinAvailable: &all, UnhealthyPodEvictionPolicy: &always,
			Selector: &metav1.LabelSelector{MatchLabels: withSession(nil, in.Session)},
		},
	}
}

// targetPort is the number that the endpoints of a Service port carry.
func (in Input) targetPort(p corev1.ServicePort) int32 {
	switch {
	case p.TargetPort.Type == intstr.Int && p.TargetPort.IntVal != 0:
		return p.TargetPort.IntVal
	case p.TargetPort.Type == intstr.Int:
		return p.Port
	}
	for _, c := range in.Program.Spec.Containers {
		for _, cp := range c.Ports {
			if cp.Name == p.TargetPort.StrVal {
				return cp.ContainerPort
			}
		}
	}
	return 0
}
