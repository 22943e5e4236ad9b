package sandbox

import (
	"slices"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/osc-debug/osc-debug/pkg/workload"
)

// A NetworkPolicy that admits the original by a label that the clone has not is named, if its namespace selector
// may match this namespace. So is one that selects only the sandbox.
func TestPoliciesThatTreatTheSandboxDifferently(t *testing.T) {
	in := input()
	in.Program.Live.Labels = in.Program.Labels
	web := labels.SelectorFromSet(labels.Set{"app": "web"})
	in.Selectors = []workload.Selector{{Kind: "service", Name: "web", Selector: web}} // so the clone has no label app
	from := func(pods, namespaces *metav1.LabelSelector) networkingv1.NetworkPolicySpec {
		return networkingv1.NetworkPolicySpec{Ingress: []networkingv1.NetworkPolicyIngressRule{{From: []networkingv1.NetworkPolicyPeer{{PodSelector: pods, NamespaceSelector: namespaces}}}}}
	}
	byLabel := func(key, value string) *metav1.LabelSelector {
		return &metav1.LabelSelector{MatchLabels: map[string]string{key: value}}
	}
	app := byLabel("app", "web")
	noLabel := &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "app", Operator: metav1.LabelSelectorOpDoesNotExist}}}
	out := networkingv1.NetworkPolicySpec{Egress: []networkingv1.NetworkPolicyEgressRule{{To: []networkingv1.NetworkPolicyPeer{{PodSelector: app, NamespaceSelector: byLabel("team", "a")}}}}}
	for name, c := range map[string]struct {
		spec             networkingv1.NetworkPolicySpec
		strangers, apart bool
	}{
		"from pods by a label that is kept":         {from(byLabel("role", "front"), byLabel("team", "a")), false, false},
		"from this namespace":                       {from(app, byLabel("kubernetes.io/metadata.name", "sample")), false, false},
		"from another namespace":                    {from(app, byLabel("kubernetes.io/metadata.name", "other")), false, false},
		"from a namespace by an unknown label":      {from(app, byLabel("team", "a")), true, false},
		"to a namespace by an unknown label":        {out, true, false},
		"from a namespace by a selector of nothing": {from(app, &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "team", Operator: "Unknown"}}}), false, false},
		"on pods without the label":                 {networkingv1.NetworkPolicySpec{PodSelector: *noLabel}, false, true},
	} {
		in.Policies = []networkingv1.NetworkPolicy{{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: c.spec}}
		if got := slices.Contains(Strangers(in), "p"); got != c.strangers {
			t.Errorf("a policy %s: might leave out the sandbox: %t, want %t", name, got, c.strangers)
		}
		if got := slices.Contains(Apart(in), "p"); got != c.apart {
			t.Errorf("a policy %s: selects only the sandbox: %t, want %t", name, got, c.apart)
		}
	}
}
