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

// Annotations of a session's NetworkPolicies, each with the name of the one that it is made
// after: a mirror holds for the sandbox as that one for the original, an opening lets the
// sandbox through where that one lets the original through.
const (
	MirrorsKey = "osc-debug.dev/mirrors"
	OpensKey   = "osc-debug.dev/opens"
)

// Policies give the sandbox the reach of the original by NetworkPolicies of the session's
// own: mirrors of those that select the original but not the sandbox, whose labels differ,
// and openings for the sandbox in those by which pods of the namespace let the original in
// or reach it. Without them, where other traffic is denied, neither the router nor the
// program's own database would be in reach; where it is not, the sandbox could do what the
// original may not.
func Policies(in Input) []*networkingv1.NetworkPolicy {
	v := in.view()
	var out []*networkingv1.NetworkPolicy
	add := func(of *networkingv1.NetworkPolicy, key string, spec networkingv1.NetworkPolicySpec) {
		p := &networkingv1.NetworkPolicy{ObjectMeta: in.meta(), Spec: spec}
		p.Name = fmt.Sprintf("%s-%d", record.ServiceName(in.Session), len(out))
		p.Annotations[key] = of.Name
		out = append(out, p)
	}
	for i := range in.Policies {
		p := &in.Policies[i]
		if v.original(&p.Spec.PodSelector) && !v.own(&p.Spec.PodSelector) {
			mirror := p.Spec.DeepCopy()
			mirror.PodSelector = v.sandbox
			for i, r := range mirror.Ingress {
				if slices.ContainsFunc(r.From, v.misses) { // pods of the sandbox reach each other as the originals do
					mirror.Ingress[i].From = append(r.From, v.peer())
				}
			}
			for i, r := range mirror.Egress {
				if slices.ContainsFunc(r.To, v.misses) {
					mirror.Egress[i].To = append(r.To, v.peer())
				}
			}
			add(p, MirrorsKey, *mirror)
		}
		if opening, wanted := v.opening(p); wanted {
			add(p, OpensKey, opening)
		}
	}
	return out
}

// view is how selectors see the sandbox and the original.
type view struct {
	clone, live labels.Set
	sandbox     metav1.LabelSelector // selects the session's pods
	namespace   labels.Set           // what is known of the namespace's labels
}

func (in Input) view() view {
	kept, _, _ := in.Labels()
	return view{
		clone: withSession(kept, in.Session), live: in.Program.Live.Labels,
		sandbox:   metav1.LabelSelector{MatchLabels: withSession(nil, in.Session)},
		namespace: labels.Set{corev1.LabelMetadataName: in.Route.Namespace},
	}
}

func (v view) own(s *metav1.LabelSelector) bool      { return selects(s, v.clone) }
func (v view) original(s *metav1.LabelSelector) bool { return selects(s, v.live) }

func selects(s *metav1.LabelSelector, set labels.Set) bool {
	selector, err := metav1.LabelSelectorAsSelector(s)
	return err == nil && selector.Matches(set)
}

// named says whether a peer names the original by labels that the sandbox does not have.
func (v view) named(peer networkingv1.NetworkPolicyPeer) bool {
	return peer.PodSelector != nil && v.original(peer.PodSelector) && !v.own(peer.PodSelector)
}

// misses says whether a peer that is named so surely is of this namespace.
func (v view) misses(peer networkingv1.NetworkPolicyPeer) bool {
	return v.named(peer) && (peer.NamespaceSelector == nil || selects(peer.NamespaceSelector, v.namespace))
}

func (v view) peer() networkingv1.NetworkPolicyPeer {
	return networkingv1.NetworkPolicyPeer{PodSelector: v.sandbox.DeepCopy()}
}

// opening lets the sandbox through where a policy lets the original through: the same pods,
// which that policy isolates already, so that it only adds, and the same ports.
func (v view) opening(p *networkingv1.NetworkPolicy) (out networkingv1.NetworkPolicySpec, wanted bool) {
	out.PodSelector = *p.Spec.PodSelector.DeepCopy()
	peers := []networkingv1.NetworkPolicyPeer{v.peer()}
	for _, kind := range p.Spec.PolicyTypes {
		switch kind {
		case networkingv1.PolicyTypeIngress:
			for _, r := range p.Spec.Ingress {
				if slices.ContainsFunc(r.From, v.misses) {
					out.Ingress = append(out.Ingress, networkingv1.NetworkPolicyIngressRule{Ports: r.Ports, From: peers})
				}
			}
			if out.Ingress != nil {
				out.PolicyTypes = append(out.PolicyTypes, kind)
			}
		case networkingv1.PolicyTypeEgress:
			for _, r := range p.Spec.Egress {
				if slices.ContainsFunc(r.To, v.misses) {
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

// Apart names the NetworkPolicies that select the sandbox but not the original: by them
// the reach of the two differs.
func Apart(in Input) []string {
	v := in.view()
	var out []string
	for _, p := range in.Policies {
		if v.own(&p.Spec.PodSelector) && !v.original(&p.Spec.PodSelector) {
			out = append(out, p.Name)
		}
	}
	return out
}

// Strangers names the NetworkPolicies that may let the original through, but not the
// sandbox: whether they do depends on labels of the namespace, which are not known.
func Strangers(in Input) []string {
	v := in.view()
	unsure := func(peer networkingv1.NetworkPolicyPeer) bool {
		return v.named(peer) && !v.misses(peer) && v.maybe(peer.NamespaceSelector)
	}
	var out []string
	for _, p := range in.Policies {
		named := slices.ContainsFunc(p.Spec.Ingress, func(r networkingv1.NetworkPolicyIngressRule) bool { return slices.ContainsFunc(r.From, unsure) }) ||
			slices.ContainsFunc(p.Spec.Egress, func(r networkingv1.NetworkPolicyEgressRule) bool { return slices.ContainsFunc(r.To, unsure) })
		if named {
			out = append(out, p.Name)
		}
	}
	return out
}

// maybe says whether a namespace selector may select this namespace: what it asks of labels
// that are known holds.
func (v view) maybe(s *metav1.LabelSelector) bool {
	selector, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return false
	}
	requirements, _ := selector.Requirements()
	for _, r := range requirements {
		if v.namespace.Has(r.Key()) && !r.Matches(v.namespace) {
			return false
		}
	}
	return true
}
