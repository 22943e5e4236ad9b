package sandbox

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/osc-debug/osc-debug/pkg/session/record"
)

// Annotations of a session's NetworkPolicies. The value is the name of the existing NetworkPolicy that
// the session's one is derived from.
const (
	// MirrorsKey: the policy applies the existing one's rules to the sandbox.
	MirrorsKey = "osc-debug.dev/mirrors"
	// OpensKey: the policy allows traffic of the sandbox where the existing one allows the original's.
	OpensKey = "osc-debug.dev/opens"
)

// Policies returns NetworkPolicies that give the sandbox the same network access as the original,
// although its labels differ: mirrors of the policies that select the original but not the sandbox,
// and openings in the policies of other pods of the namespace that allow traffic from or to the
// original. Without them, if other traffic is denied, the sandbox could reach neither the router nor
// the program's database; if it is allowed, the sandbox would have more access than the original.
func Policies(in Input) []*networkingv1.NetworkPolicy {
	m := in.matcher()
	var out []*networkingv1.NetworkPolicy
	add := func(of *networkingv1.NetworkPolicy, key string, spec networkingv1.NetworkPolicySpec) {
		p := &networkingv1.NetworkPolicy{ObjectMeta: in.objectMeta(), Spec: spec}
		p.Name = fmt.Sprintf("%s-%d", record.ServiceName(in.Session), len(out))
		p.Annotations[key] = of.Name
		out = append(out, p)
	}
	for i := range in.Policies {
		p := &in.Policies[i]
		if m.selectsOriginal(&p.Spec.PodSelector) && !m.selectsClone(&p.Spec.PodSelector) {
			mirror := p.Spec.DeepCopy()
			mirror.PodSelector = m.sandbox
			for i, r := range mirror.Ingress {
				if slices.ContainsFunc(r.From, m.excludesClone) { // sandbox pods reach each other, as the original's pods do
					mirror.Ingress[i].From = append(r.From, m.sandboxPeer())
				}
			}
			for i, r := range mirror.Egress {
				if slices.ContainsFunc(r.To, m.excludesClone) {
					mirror.Egress[i].To = append(r.To, m.sandboxPeer())
				}
			}
			add(p, MirrorsKey, *mirror)
		}
		if opening, needed := m.opening(p); needed {
			add(p, OpensKey, opening)
		}
	}
	return out
}

// matcher matches selectors against the clone and the original.
type matcher struct {
	clone, live labels.Set           // labels of the clone and of the live pod
	sandbox     metav1.LabelSelector // selects the session's pods
	namespace   labels.Set           // the known labels of the namespace
}

func (in Input) matcher() matcher {
	kept, _, _ := in.Labels()
	return matcher{
		clone: withSession(kept, in.Session), live: in.Program.Live.Labels,
		sandbox:   metav1.LabelSelector{MatchLabels: withSession(nil, in.Session)},
		namespace: labels.Set{corev1.LabelMetadataName: in.Route.Namespace},
	}
}

func (m matcher) selectsClone(s *metav1.LabelSelector) bool    { return selects(s, m.clone) }
func (m matcher) selectsOriginal(s *metav1.LabelSelector) bool { return selects(s, m.live) }

func selects(s *metav1.LabelSelector, set labels.Set) bool {
	selector, err := metav1.LabelSelectorAsSelector(s)
	return err == nil && selector.Matches(set)
}

// podSelectorExcludesClone reports whether a peer's pod selector matches the original but not the
// clone.
func (m matcher) podSelectorExcludesClone(peer networkingv1.NetworkPolicyPeer) bool {
	return peer.PodSelector != nil && m.selectsOriginal(peer.PodSelector) && !m.selectsClone(peer.PodSelector)
}

// excludesClone reports whether a peer certainly includes the original but not the clone: its pod
// selector does, and it is known to apply to this namespace.
func (m matcher) excludesClone(peer networkingv1.NetworkPolicyPeer) bool {
	return m.podSelectorExcludesClone(peer) && (peer.NamespaceSelector == nil || selects(peer.NamespaceSelector, m.namespace))
}

func (m matcher) sandboxPeer() networkingv1.NetworkPolicyPeer {
	return networkingv1.NetworkPolicyPeer{PodSelector: m.sandbox.DeepCopy()}
}

// opening returns a policy that allows traffic of the sandbox where p allows the original's: for the
// same pods, which p isolates already, so it only adds to what is allowed, and the same ports. needed
// is false if there is no such traffic.
func (m matcher) opening(p *networkingv1.NetworkPolicy) (out networkingv1.NetworkPolicySpec, needed bool) {
	out.PodSelector = *p.Spec.PodSelector.DeepCopy()
	peers := []networkingv1.NetworkPolicyPeer{m.sandboxPeer()}
	for _, kind := range p.Spec.PolicyTypes {
		switch kind {
		case networkingv1.PolicyTypeIngress:
			for _, r := range p.Spec.Ingress {
				if slices.ContainsFunc(r.From, m.excludesClone) {
					out.Ingress = append(out.Ingress, networkingv1.NetworkPolicyIngressRule{Ports: r.Ports, From: peers})
				}
			}
			if out.Ingress != nil {
				out.PolicyTypes = append(out.PolicyTypes, kind)
			}
		case networkingv1.PolicyTypeEgress:
			for _, r := range p.Spec.Egress {
				if slices.ContainsFunc(r.To, m.excludesClone) {
					out.Egress = append(out.Egress, networkingv1.NetworkPolicyEgressRule{Ports: r.Ports, To: peers})
				}
			}
			if out.Egress != nil {
				out.PolicyTypes = append(out.PolicyTypes, kind)
			}
		}
	}
	return out, len(out.PolicyTypes) > 0
}

// Apart returns the names of the NetworkPolicies that select the sandbox but not the original, so that
// the network access of the two differs.
func Apart(in Input) []string {
	m := in.matcher()
	var out []string
	for _, p := range in.Policies {
		if m.selectsClone(&p.Spec.PodSelector) && !m.selectsOriginal(&p.Spec.PodSelector) {
			out = append(out, p.Name)
		}
	}
	return out
}

// Strangers returns the names of the NetworkPolicies that might allow traffic of the original but not
// of the sandbox. Whether they do depends on labels of the namespace, which are not known.
func Strangers(in Input) []string {
	m := in.matcher()
	mayExclude := func(peer networkingv1.NetworkPolicyPeer) bool {
		return m.podSelectorExcludesClone(peer) && !m.excludesClone(peer) && m.mightSelectNamespace(peer.NamespaceSelector)
	}
	var out []string
	for _, p := range in.Policies {
		matches := slices.ContainsFunc(p.Spec.Ingress, func(r networkingv1.NetworkPolicyIngressRule) bool { return slices.ContainsFunc(r.From, mayExclude) }) ||
			slices.ContainsFunc(p.Spec.Egress, func(r networkingv1.NetworkPolicyEgressRule) bool { return slices.ContainsFunc(r.To, mayExclude) })
		if matches {
			out = append(out, p.Name)
		}
	}
	return out
}

// mightSelectNamespace reports whether the known labels of this namespace satisfy those requirements of
// a namespace selector that are about them.
func (m matcher) mightSelectNamespace(s *metav1.LabelSelector) bool {
	selector, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return false
	}
	requirements, _ := selector.Requirements()
	for _, r := range requirements {
		if m.namespace.Has(r.Key()) && !r.Matches(m.namespace) {
			return false
		}
	}
	return true
}
