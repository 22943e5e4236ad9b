//go:build e2e

package e2e

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/settings"
)

// Someone who is admin of namespace osc-debug, as the requester of a project is, can neither change what
// everybody believes of it nor mark it as trusted. And nobody believes a namespace without the mark.
func TestTheTrustedHomeCannotBeTaken(t *testing.T) {
	t.Parallel()
	e := newGuardedEnv(t)
	e.deployment("web", 1, nil)
	e.route(nil)
	ctx := t.Context()
	binding, err := core.RbacV1().RoleBindings(settings.Home).Create(ctx, &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{GenerateName: "e2e-"},
		RoleRef:  rbacv1.RoleRef{APIGroup: "rbac.authorization.k8s.io", Kind: "ClusterRole", Name: "admin"},
		Subjects: []rbacv1.Subject{{Kind: "User", APIGroup: "rbac.authorization.k8s.io", Name: "carol"}}}, metav1.CreateOptions{})
	e.ok(err)
	t.Cleanup(func() {
		_ = core.RbacV1().RoleBindings(settings.Home).Delete(context.Background(), binding.Name, metav1.DeleteOptions{})
	})
	dry, carol := []string{metav1.DryRunAll}, e.clientOf("carol")
	maps, leases := carol.CoreV1().ConfigMaps(settings.Home), carol.CoordinationV1().Leases(settings.Home)
	change := []byte(`{"metadata":{"annotations":{"example.com/by":"carol"}}}`)
	e.eventually("carol is admin of the namespace", func() bool {
		_, err := maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "hers"}}, metav1.CreateOptions{DryRun: dry})
		return err == nil
	})
	patch := func(name string) error {
		_, err := maps.Patch(ctx, name, types.MergePatchType, change, metav1.PatchOptions{DryRun: dry})
		return err
	}
	_, createErr := maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: settings.ConfigName}}, metav1.CreateOptions{DryRun: dry})
	_, leaseErr := leases.Patch(ctx, settings.LeaseName, types.MergePatchType, change, metav1.PatchOptions{DryRun: dry})
	_, newLeaseErr := leases.Create(ctx, &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: settings.LeaseName}}, metav1.CreateOptions{DryRun: dry})
	for name, err := range map[string]error{
		"change the settings": patch(settings.ConfigName),
		"create the settings": createErr,
		"delete the settings": maps.Delete(ctx, settings.ConfigName, metav1.DeleteOptions{DryRun: dry}),
		"change the status":   patch(settings.StatusName),
		"delete the status":   maps.Delete(ctx, settings.StatusName, metav1.DeleteOptions{DryRun: dry}),
		"change the Lease":    leaseErr,
		"create the Lease":    newLeaseErr,
		"delete the Lease":    leases.Delete(ctx, settings.LeaseName, metav1.DeleteOptions{DryRun: dry}),
	} {
		if !deniedBy("HomeProtected").matches(err) {
			t.Errorf("%s: got %v, wanted a rejection by policy osc-debug-home", name, err)
		}
	}
	_, labelErr := carol.CoreV1().Namespaces().Patch(ctx, settings.Home, types.MergePatchType, []byte(`{"metadata":{"labels":{"`+settings.TrustLabel+`":"`+settings.Trusted+`"}}}`), metav1.PatchOptions{DryRun: dry})
	err = maps.DeleteCollection(ctx, metav1.DeleteOptions{DryRun: dry}, metav1.ListOptions{})
	if !deniedBy("HomeProtected").matches(err) {
		t.Errorf("delete all ConfigMaps: got %v, wanted a rejection by policy osc-debug-home", err)
	}
	if !apierrors.IsForbidden(labelErr) {
		t.Errorf("carol could label the namespace: %v", labelErr)
	}
	if _, err := core.CoreV1().ConfigMaps(settings.Home).Patch(ctx, settings.ConfigName, types.MergePatchType, change, metav1.PatchOptions{DryRun: dry}); err != nil {
		t.Errorf("an administrator cannot change the settings: %v", err)
	}

	// The same cluster, if someone had requested project osc-debug before.
	squatted := e.proxied("alice", func(w http.ResponseWriter, r *http.Request, forward http.HandlerFunc) {
		if r.URL.Path == "/api/v1/namespaces/"+settings.Home {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"kind":"Namespace","apiVersion":"v1","metadata":{"name":"osc-debug","annotations":{"openshift.io/requester":"carol"}}}`)
			return
		}
		forward(w, r)
	})
	before := e.snapshot()
	if r := e.start(squatted, "shift", "--route", "shop", "--weight", "10", "--router", routerIP).wait(); r.code == 0 || !r.reports(reason.GuardNotRunning) || !strings.Contains(r.errOut, "not trusted") {
		t.Errorf("a session trusts the guard of a project that someone requested: %s", r)
	}
	if after := e.snapshot(); after != before {
		t.Errorf("before %s\nafter  %s", before, after)
	}
	for _, part := range []string{"guard", "policy", "scc"} {
		if r := e.start(squatted, "manifests", part).wait(); r.code == 0 || !r.reports(reason.HomeNotTrusted) {
			t.Errorf("manifests %s can be applied to a project that someone requested: %s", part, r)
		}
	}
	if r := e.start(squatted, "doctor").wait(); !strings.Contains(r.out, "("+string(reason.HomeNotTrusted)+")") {
		t.Errorf("doctor does not say that the namespace is not trusted: %s", r)
	}
}
