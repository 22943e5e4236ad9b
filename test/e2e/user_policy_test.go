//go:build e2e

package e2e

import (
	"context"
	"io"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/tools/remotecommand"

	"github.com/osc-debug/osc-debug/pkg/kube/exec"
	"github.com/osc-debug/osc-debug/pkg/session/record"
)

// tryBeyondSessions tries, as alice with role osc-debug-user, to write what no session writes. Each attempt
// has a twin, which a session does write.
func (e *env) tryBeyondSessions() {
	e.t.Helper()
	const id, other = "bcdfghjk", "kjhgfdcb"
	ctx, dry := e.t.Context(), []string{metav1.DryRunAll}
	alice, routes := e.clientOf("alice"), e.routesOf("alice")
	ofSession := func(id string) map[string]string { return map[string]string{record.Label: id} }
	tried := 0
	expect := func(name string, offence, twin error) {
		e.t.Helper()
		tried++
		if offence == nil || !strings.Contains(offence.Error(), "NotOfASession: ") {
			e.t.Errorf("%s: got %v, wanted a rejection", name, offence)
		}
		if twin != nil {
			e.t.Errorf("%s: its twin was rejected: %v", name, twin)
		}
	}

	patch := func(patch string) error {
		_, err := routes.RouteV1().Routes(e.ns).Patch(ctx, "shop", types.JSONPatchType, []byte(patch), metav1.PatchOptions{DryRun: dry})
		return err
	}
	weight := patch(`[{"op":"replace","path":"/spec/to/weight","value":50},{"op":"add","path":"/spec/alternateBackends","value":[{"kind":"Service","name":"osc-debug-` + id + `","weight":50}]}]`)
	marks := patch(`[{"op":"add","path":"/metadata/labels","value":{"` + record.Label + `":"` + id + `"}},{"op":"add","path":"/metadata/annotations","value":{"` + record.JournalKey + `":"{}"}}]`)
	for name, text := range map[string]string{
		"host":              `[{"op":"replace","path":"/spec/host","value":"evil.example.com"}]`,
		"path":              `[{"op":"add","path":"/spec/path","value":"/evil"}]`,
		"TLS":               `[{"op":"add","path":"/spec/tls","value":{"termination":"edge"}}]`,
		"port":              `[{"op":"add","path":"/spec/port","value":{"targetPort":"other"}}]`,
		"primary backend":   `[{"op":"replace","path":"/spec/to/name","value":"evil"}]`,
		"alternate backend": `[{"op":"add","path":"/spec/alternateBackends","value":[{"kind":"Service","name":"evil","weight":50}]}]`,
		"a Service that only looks like a session's": `[{"op":"add","path":"/spec/alternateBackends","value":[{"kind":"Service","name":"osc-debug-shop","weight":50}]}]`,
		"wildcard": `[{"op":"add","path":"/spec/wildcardPolicy","value":"Subdomain"}]`,
	} {
		expect("Route: "+name, patch(text), weight)
	}
	for name, text := range map[string]string{
		"label":      `[{"op":"add","path":"/metadata/labels","value":{"team":"evil"}}]`,
		"annotation": `[{"op":"add","path":"/metadata/annotations","value":{"haproxy.router.openshift.io/balance":"source"}}]`,
		"finalizer":  `[{"op":"add","path":"/metadata/finalizers","value":["example.com/stay"]}]`,
	} {
		expect("Route: "+name, patch(text), marks)
	}

	pod := func(labels map[string]string) error {
		_, err := alice.CoreV1().Pods(e.ns).Create(ctx, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: record.PodName(id, 0), Labels: labels},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "quay.io/shop/web:1"}}},
		}, metav1.CreateOptions{DryRun: dry})
		return err
	}
	expect("pod without a session", pod(map[string]string{"app": "web"}), pod(ofSession(id)))
	expect("pod with an invalid session", pod(ofSession("aeiou")), pod(ofSession(id)))

	service := func(change func(*corev1.Service)) error {
		s := &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Name: record.ServiceName(id), Labels: ofSession(id)},
			Spec:       corev1.ServiceSpec{Selector: ofSession(id), Ports: []corev1.ServicePort{{Port: 80}}},
		}
		change(s)
		_, err := alice.CoreV1().Services(e.ns).Create(ctx, s, metav1.CreateOptions{DryRun: dry})
		return err
	}
	sound := service(func(*corev1.Service) {})
	for name, change := range map[string]func(*corev1.Service){
		"without a session":  func(s *corev1.Service) { s.Labels = nil },
		"of another name":    func(s *corev1.Service) { s.Name = "web-too" },
		"of other pods":      func(s *corev1.Service) { s.Spec.Selector = map[string]string{"app": "web"} },
		"of another session": func(s *corev1.Service) { s.Spec.Selector = ofSession(other) },
		"without a selector": func(s *corev1.Service) { s.Spec.Selector = nil },
		"on every node":      func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeNodePort },
		"of a load balancer": func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeLoadBalancer },
		"of a name elsewhere": func(s *corev1.Service) {
			s.Spec.Type, s.Spec.ExternalName = corev1.ServiceTypeExternalName, "evil.example.com"
		},
		"with external address": func(s *corev1.Service) { s.Spec.ExternalIPs = []string{"192.0.2.1"} },
	} {
		expect("Service "+name, service(change), sound)
	}

	policy := func(change func(*networkingv1.NetworkPolicy)) error {
		p := &networkingv1.NetworkPolicy{
			ObjectMeta: metav1.ObjectMeta{Name: record.ServiceName(id) + "-0", Labels: ofSession(id)},
			Spec: networkingv1.NetworkPolicySpec{
				PodSelector: metav1.LabelSelector{MatchLabels: ofSession(id)}, PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress},
				Ingress: []networkingv1.NetworkPolicyIngressRule{{}},
			},
		}
		change(p)
		_, err := alice.NetworkingV1().NetworkPolicies(e.ns).Create(ctx, p, metav1.CreateOptions{DryRun: dry})
		return err
	}
	database := metav1.LabelSelector{MatchLabels: map[string]string{"app": "db"}}
	from := func(peers ...networkingv1.NetworkPolicyPeer) []networkingv1.NetworkPolicyIngressRule {
		return []networkingv1.NetworkPolicyIngressRule{{From: peers}}
	}
	sandbox := networkingv1.NetworkPolicyPeer{PodSelector: &metav1.LabelSelector{MatchLabels: ofSession(id)}}
	opening := policy(func(p *networkingv1.NetworkPolicy) { p.Spec.PodSelector, p.Spec.Ingress = database, from(sandbox) })
	mirror := policy(func(*networkingv1.NetworkPolicy) {})
	for name, change := range map[string]func(*networkingv1.NetworkPolicy){
		"without a session":        func(p *networkingv1.NetworkPolicy) { p.Labels = nil },
		"of another name":          func(p *networkingv1.NetworkPolicy) { p.Name = "deny-all" },
		"for all pods":             func(p *networkingv1.NetworkPolicy) { p.Spec.PodSelector = metav1.LabelSelector{} },
		"that isolates other pods": func(p *networkingv1.NetworkPolicy) { p.Spec.PodSelector, p.Spec.Ingress = database, nil },
		"that isolates both ways": func(p *networkingv1.NetworkPolicy) {
			p.Spec.PodSelector, p.Spec.Ingress = database, from(sandbox)
			p.Spec.PolicyTypes = []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress}
		},
		"for another session": func(p *networkingv1.NetworkPolicy) { p.Spec.PodSelector.MatchLabels = ofSession(other) },
	} {
		expect("NetworkPolicy "+name, policy(change), mirror)
	}
	for name, change := range map[string]func(*networkingv1.NetworkPolicy){
		"open to everybody": func(p *networkingv1.NetworkPolicy) { p.Spec.PodSelector = database },
		"open to addresses": func(p *networkingv1.NetworkPolicy) {
			p.Spec.PodSelector, p.Spec.Ingress = database, from(sandbox, networkingv1.NetworkPolicyPeer{IPBlock: &networkingv1.IPBlock{CIDR: "0.0.0.0/0"}})
		},
		"open to all pods": func(p *networkingv1.NetworkPolicy) {
			p.Spec.PodSelector, p.Spec.Ingress = database, from(networkingv1.NetworkPolicyPeer{PodSelector: &metav1.LabelSelector{}})
		},
		"open to namespaces": func(p *networkingv1.NetworkPolicy) {
			p.Spec.PodSelector, p.Spec.Ingress = database, from(networkingv1.NetworkPolicyPeer{PodSelector: sandbox.PodSelector, NamespaceSelector: &metav1.LabelSelector{}})
		},
		"open to other session": func(p *networkingv1.NetworkPolicy) {
			p.Spec.PodSelector, p.Spec.Ingress = database, from(networkingv1.NetworkPolicyPeer{PodSelector: &metav1.LabelSelector{MatchLabels: ofSession(other)}})
		},
	} {
		expect("NetworkPolicy "+name, policy(change), opening)
	}

	budget := func(change func(*policyv1.PodDisruptionBudget)) error {
		one := intstr.FromInt32(1)
		b := &policyv1.PodDisruptionBudget{
			ObjectMeta: metav1.ObjectMeta{Name: record.ServiceName(id), Labels: ofSession(id)},
			Spec:       policyv1.PodDisruptionBudgetSpec{MaxUnavailable: &one, Selector: &metav1.LabelSelector{MatchLabels: ofSession(id)}},
		}
		change(b)
		_, err := alice.PolicyV1().PodDisruptionBudgets(e.ns).Create(ctx, b, metav1.CreateOptions{DryRun: dry})
		return err
	}
	for name, change := range map[string]func(*policyv1.PodDisruptionBudget){
		"without a session": func(b *policyv1.PodDisruptionBudget) { b.Labels = nil },
		"for all pods":      func(b *policyv1.PodDisruptionBudget) { b.Spec.Selector = &metav1.LabelSelector{} },
		"for other pods":    func(b *policyv1.PodDisruptionBudget) { b.Spec.Selector = &database },
	} {
		expect("disruption budget "+name, budget(change), budget(func(*policyv1.PodDisruptionBudget) {}))
	}

	// Deleting: a pod and a Service of others, beside those of a session.
	remove := metav1.DeleteOptions{DryRun: dry}
	gone := func(do func(context.Context, string, metav1.DeleteOptions) error, name string) error {
		return do(ctx, name, remove)
	}
	for _, labels := range []map[string]string{{"app": "db"}, ofSession(id)} {
		name := "others"
		if labels["app"] == "" {
			name = record.ServiceName(id)
		}
		_, err := core.CoreV1().Pods(e.ns).Create(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels},
			Spec: corev1.PodSpec{SchedulerName: "nobody", Containers: []corev1.Container{{Name: "x", Image: "quay.io/shop/web:1"}}}}, metav1.CreateOptions{})
		e.ok(err)
		_, err = core.CoreV1().Services(e.ns).Create(ctx, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels},
			Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}}, metav1.CreateOptions{})
		e.ok(err)
	}
	expect("another pod deleted", gone(alice.CoreV1().Pods(e.ns).Delete, "others"), gone(alice.CoreV1().Pods(e.ns).Delete, record.ServiceName(id)))
	expect("another Service deleted", gone(alice.CoreV1().Services(e.ns).Delete, "others"), gone(alice.CoreV1().Services(e.ns).Delete, record.ServiceName(id)))

	run := func(pod string) error {
		return exec.Client{Config: e.configOf("alice"), Core: alice}.Stream(ctx, e.ns, pod, "x", []string{"id"}, remotecommand.StreamOptions{Stdout: io.Discard, Stderr: io.Discard})
	}
	if err := run("others"); err == nil || !strings.Contains(err.Error(), "NotOfASession: ") {
		e.t.Errorf("alice could run a command in another pod: %v", err)
	}

	// A user with permission to update these is not narrowed.
	carol := e.clientOf("carol").CoreV1().Pods(e.ns)
	e.bind("carol", "edit")
	e.grantSCC("carol")
	e.eventually("carol can delete pods of others", func() bool { return carol.Delete(ctx, "others", remove) == nil })
	summarize(e.t, "%d attempts beyond sessions", tried)
}
