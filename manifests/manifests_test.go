package manifests_test

import (
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/osc-debug/osc-debug/manifests"
	"github.com/osc-debug/osc-debug/pkg/rights"
	"github.com/osc-debug/osc-debug/pkg/sandbox"
	"github.com/osc-debug/osc-debug/pkg/session/record"
	"github.com/osc-debug/osc-debug/pkg/settings"
)

// The manifests and the code that they serve agree on names, permissions and times.

// text returns a manifest.
func text(t *testing.T, file string) string {
	t.Helper()
	data, err := fs.ReadFile(manifests.Files, file)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// object reads the object of a kind and name in a manifest into out.
func object(t *testing.T, file, kind, name string, out any) {
	t.Helper()
	for document := range strings.SplitSeq(text(t, file), "\n---\n") {
		var meta metav1.PartialObjectMetadata
		if err := yaml.Unmarshal([]byte(document), &meta); err != nil {
			t.Fatal(err)
		}
		if meta.Kind == kind && meta.Name == name {
			if err := yaml.UnmarshalStrict([]byte(document), out); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatalf("%s has no %s %s", file, kind, name)
}

// granted returns the rights in all objects of a resource that rules grant.
func granted(rules []rbacv1.PolicyRule) (out []rights.Right) {
	for _, r := range rules {
		for _, group := range r.APIGroups {
			for _, resource := range r.Resources {
				for _, verb := range r.Verbs {
					if len(r.ResourceNames) == 0 {
						out = append(out, rights.Right{Group: group, Resource: resource, Verb: verb})
					}
				}
			}
		}
	}
	return out
}

func sortedTexts(all ...[]rights.Right) []string {
	var out []string
	for _, r := range slices.Concat(all...) {
		out = append(out, r.String())
	}
	slices.Sort(out)
	return out
}

// The guard's roles grant what it needs and nothing else.
func TestTheGuardsRolesGrantWhatItNeeds(t *testing.T) {
	var inCluster, nodes rbacv1.ClusterRole
	var team rbacv1.Role
	object(t, "guard-cluster/rbac.yaml", "ClusterRole", "osc-debug-guard", &inCluster)
	object(t, "guard-cluster/rbac.yaml", "ClusterRole", "osc-debug-guard-nodes", &nodes)
	object(t, "guard-team/rbac.yaml", "Role", "osc-debug-guard", &team)
	inNamespace := sortedTexts(rights.Guard, rights.GuardEvents)
	for _, c := range []struct {
		role  string
		rules []rbacv1.PolicyRule
		want  []string
	}{
		{"ClusterRole osc-debug-guard", inCluster.Rules, sortedTexts(rights.Guard, rights.GuardEvents, rights.CustomHost)},
		{"a team's Role osc-debug-guard", team.Rules, inNamespace},
		{"ClusterRole osc-debug-guard-nodes", nodes.Rules, sortedTexts(rights.Nodes)},
	} {
		if got := sortedTexts(granted(c.rules)); !slices.Equal(got, c.want) {
			t.Errorf("%s grants\n%s\nwant\n%s", c.role, strings.Join(got, "\n"), strings.Join(c.want, "\n"))
		}
	}
}

// Role osc-debug-user grants what a session needs, and the use of the SCC.
func TestTheUsersRoleGrantsWhatASessionNeeds(t *testing.T) {
	var user rbacv1.ClusterRole
	object(t, "rbac/role.yaml", "ClusterRole", "osc-debug-user", &user)
	has := granted(user.Rules)
	for _, r := range rights.Session {
		if !slices.Contains(has, r) {
			t.Errorf("the role does not grant %s", r)
		}
	}
	if !slices.ContainsFunc(user.Rules, func(r rbacv1.PolicyRule) bool {
		return slices.Equal(r.Resources, []string{"securitycontextconstraints"}) && slices.Equal(r.ResourceNames, []string{rights.SCC}) && slices.Equal(r.Verbs, []string{"use"})
	}) {
		t.Errorf("the role does not grant the use of SCC %s", rights.SCC)
	}
}

// The SCC, the ConfigMaps and the Lease have the names that the code uses, and the sandbox policy
// allows the deadline that sandboxes have.
func TestNamesAndTimesAreThoseOfTheCode(t *testing.T) {
	var config, status corev1.ConfigMap
	object(t, "settings/config.yaml", "ConfigMap", settings.ConfigName, &config)
	object(t, "guard-base/home.yaml", "ConfigMap", settings.StatusName, &status)
	var home rbacv1.Role
	object(t, "guard-base/home.yaml", "Role", "osc-debug-guard-home", &home)
	if !slices.ContainsFunc(home.Rules, func(r rbacv1.PolicyRule) bool {
		return slices.Equal(r.Resources, []string{"leases"}) && slices.Equal(r.ResourceNames, []string{settings.LeaseName})
	}) {
		t.Errorf("the guard has no permission for Lease %s", settings.LeaseName)
	}
	for file, want := range map[string][]string{
		"scc/scc.yaml":        {"name: " + rights.SCC + "\n"},
		"home/namespace.yaml": {"name: " + settings.Home, settings.TrustLabel + ": " + settings.Trusted},
		"policy/policy.yaml": {
			"'" + rights.SCC + "'", "SCC " + rights.SCC,
			"name: " + settings.ConfigName, "namespace: " + settings.Home,
			fmt.Sprintf("activeDeadlineSeconds.orValue(0) <= %d\n", int(record.Deadline.Seconds())),
			fmt.Sprintf("at most %d)", int(record.Deadline.Seconds())),
			record.Label, record.RouteNameKey, rights.SessionsLabel + ": " + rights.SessionsAllowed,
		},
	} {
		for _, w := range want {
			if !strings.Contains(text(t, file), w) {
				t.Errorf("manifests/%s does not have %q", file, w)
			}
		}
	}
}

// The sandbox policy admits every annotation that a clone may keep.
func TestThePolicyAdmitsTheClonesAnnotations(t *testing.T) {
	policy := text(t, "policy/policy.yaml")
	for _, key := range sandbox.KeptAnnotations() {
		if !strings.Contains(policy, "'"+key+"'") {
			t.Errorf("the sandbox policy does not admit annotation %s", key)
		}
	}
}

// Every manifest is YAML.
func TestTheManifestsAreYAML(t *testing.T) {
	err := fs.WalkDir(manifests.Files, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".yaml") {
			return err
		}
		for document := range strings.SplitSeq(text(t, path), "\n---\n") {
			var meta metav1.PartialObjectMetadata
			if err := yaml.Unmarshal([]byte(document), &meta); err != nil || meta.Kind == "" {
				t.Errorf("%s: kind %q, %v", path, meta.Kind, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
