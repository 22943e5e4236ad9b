package sandbox

import (
	"fmt"
	"slices"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/osc-debug/osc-debug/pkg/session"
)

// MirrorsKey is the annotation of a mirrored NetworkPolicy that names the original.
const MirrorsKey = "osc-debug.dev/mirrors"

// Policies mirror onto the sandbox the NetworkPolicies that select the original but not
// the sandbox, whose labels differ. Without them, where other traffic is denied, neither
// the router nor the program's own database would be in reach; where it is not, the
// sandbox could do what the original may not.
func Policies(in Input) []*networkingv1.NetworkPolicy {
	kept, _, _ := in.Labels()
	own := labels.Set(withSession(kept, in.Session))
	var out []*networkingv1.NetworkPolicy
	for _, p := range in.Policies {
		selector, err := metav1.LabelSelectorAsSelector(&p.Spec.PodSelector)
		if err != nil || !selector.Matches(labels.Set(in.Program.Live.Labels)) || selector.Matches(own) {
			continue
		}
		mirror := &networkingv1.NetworkPolicy{ObjectMeta: in.meta(), Spec: *p.Spec.DeepCopy()}
		mirror.Name = fmt.Sprintf("%s-%d", session.ServiceName(in.Session), len(out))
		mirror.Annotations[MirrorsKey] = p.Name
		mirror.Spec.PodSelector = metav1.LabelSelector{MatchLabels: withSession(nil, in.Session)}
		out = append(out, mirror)
	}
	return out
}

// Apart names the NetworkPolicies that select the sandbox but not the original: by them
// the reach of the two differs.
func Apart(in Input) []string {
	kept, _, _ := in.Labels()
	own, original := labels.Set(withSession(kept, in.Session)), labels.Set(in.Program.Live.Labels)
	var out []string
	for _, p := range in.Policies {
		if s, err := metav1.LabelSelectorAsSelector(&p.Spec.PodSelector); err == nil && s.Matches(own) && !s.Matches(original) {
			out = append(out, p.Name)
		}
	}
	return out
}

// Strangers names the NetworkPolicies by which other pods of the namespace let the
// original in or reach it, but not the sandbox.
func Strangers(in Input) []string {
	kept, _, _ := in.Labels()
	own, original := labels.Set(withSession(kept, in.Session)), labels.Set(in.Program.Live.Labels)
	misses := func(peers []networkingv1.NetworkPolicyPeer) bool {
		return slices.ContainsFunc(peers, func(peer networkingv1.NetworkPolicyPeer) bool {
			if peer.PodSelector == nil || peer.NamespaceSelector != nil {
				return false
			}
			s, err := metav1.LabelSelectorAsSelector(peer.PodSelector)
			return err == nil && s.Matches(original) && !s.Matches(own)
		})
	}
	var out []string
	for _, p := range in.Policies {
		named := slices.ContainsFunc(p.Spec.Ingress, func(r networkingv1.NetworkPolicyIngressRule) bool { return misses(r.From) }) ||
			slices.ContainsFunc(p.Spec.Egress, func(r networkingv1.NetworkPolicyEgressRule) bool { return misses(r.To) })
		if named {
			out = append(out, p.Name)
		}
	}
	return out
}
