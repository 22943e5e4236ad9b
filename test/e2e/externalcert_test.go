//go:build e2e

package e2e

import (
	"context"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/osc-debug/osc-debug/pkg/session/record"
)

// requireCustomHost stands in for OpenShift's API server: a user who writes a Route with an external certificate
// needs permission to create and update routes/custom-host, whatever changes (openshift/library-go,
// pkg/route/hostassignment).
func (e *env) requireCustomHost() {
	e.t.Helper()
	name, client := e.ns+"-custom-host", core.AdmissionregistrationV1().ValidatingAdmissionPolicies()
	may := func(verb string) string {
		return "authorizer.group('route.openshift.io').resource('routes').subresource('custom-host').namespace(request.namespace).check('" + verb + "').allowed()"
	}
	_, err := client.Create(e.t.Context(), &admissionv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: admissionv1.ValidatingAdmissionPolicySpec{
		MatchConstraints: &admissionv1.MatchResources{ResourceRules: []admissionv1.NamedRuleWithOperations{{RuleWithOperations: admissionv1.RuleWithOperations{
			Operations: []admissionv1.OperationType{"UPDATE"}, Rule: admissionv1.Rule{APIGroups: []string{"route.openshift.io"}, APIVersions: []string{"v1"}, Resources: []string{"routes"}}}}}},
		MatchConditions: []admissionv1.MatchCondition{{Name: "external", Expression: "[object, oldObject].exists(o, o.spec.?tls.?externalCertificate.hasValue())"}},
		Validations:     []admissionv1.Validation{{Expression: may("create") + " && " + may("update"), Message: "permission on custom-host is missing"}},
	}}, metav1.CreateOptions{})
	e.ok(err)
	e.t.Cleanup(func() { _ = client.Delete(context.Background(), name, metav1.DeleteOptions{}) })
	e.bindPolicy(name, false)
}

// A Route that gets an external certificate during a session is still restored by the guard.
func TestARouteThatGetsAnExternalCertificateIsEnded(t *testing.T) {
	t.Parallel()
	e := newGuardedEnv(t)
	e.createShop()
	e.requireCustomHost()
	e.detachedShift("--weight", "100")
	_, err := routes.RouteV1().Routes(e.ns).Patch(t.Context(), "shop", types.MergePatchType, []byte(`{"spec":{"tls":{"termination":"edge","externalCertificate":{"name":"cert"}}}}`), metav1.PatchOptions{})
	e.ok(err)
	e.eventually("an ordinary user cannot write the Route", func() bool {
		_, err := e.routesOf("alice").RouteV1().Routes(e.ns).Patch(t.Context(), "shop", types.MergePatchType, []byte(`{"metadata":{"annotations":{"a":"b"}}}`), metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}})
		return err != nil
	})
	e.expire()
	e.eventually("the session has ended", e.isClean)
	if r := e.shop(); record.Of(r) != nil || r.Spec.TLS == nil || r.Spec.TLS.ExternalCertificate == nil || *r.Spec.To.Weight != 100 {
		t.Errorf("the Route is %+v", r.Spec)
	}
}
