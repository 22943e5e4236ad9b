//go:build e2e

package e2e

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"

	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/session/record"
)

// approvedImage is the image that the policy's parameters allow to be privileged.
const approvedImage = "quay.io/osc-debug/sidecar@sha256:" + "2222222222222222222222222222222222222222222222222222222222222222"

// keepParameters creates a policy that keeps the API server watching ConfigMaps as policy
// parameters. When the last policy with such parameters is deleted, the API server stops the watch
// and does not restart it until it is restarted itself (k8s.io/apiserver v0.36.3, policy_source.go:
// a shared informer is stopped).
func keepParameters(ctx context.Context) error {
	ok := func(err error) error {
		if apierrors.IsAlreadyExists(err) {
			return nil
		}
		return err
	}
	client, meta, allow := core.AdmissionregistrationV1(), metav1.ObjectMeta{Name: "e2e-keeps-parameters"}, admissionv1.AllowAction
	_, err := client.ValidatingAdmissionPolicies().Create(ctx, &admissionv1.ValidatingAdmissionPolicy{ObjectMeta: meta, Spec: admissionv1.ValidatingAdmissionPolicySpec{
		ParamKind: &admissionv1.ParamKind{APIVersion: "v1", Kind: "ConfigMap"},
		MatchConstraints: &admissionv1.MatchResources{
			NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"e2e": "nowhere"}},
			ResourceRules: []admissionv1.NamedRuleWithOperations{{RuleWithOperations: admissionv1.RuleWithOperations{
				Operations: []admissionv1.OperationType{"CREATE"}, Rule: admissionv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"}}}}}},
		Validations: []admissionv1.Validation{{Expression: "true"}},
	}}, metav1.CreateOptions{})
	if ok(err) != nil {
		return err
	}
	_, err = client.ValidatingAdmissionPolicyBindings().Create(ctx, &admissionv1.ValidatingAdmissionPolicyBinding{ObjectMeta: meta, Spec: admissionv1.ValidatingAdmissionPolicyBindingSpec{
		PolicyName: meta.Name, ValidationActions: []admissionv1.ValidationAction{admissionv1.Deny},
		ParamRef: &admissionv1.ParamRef{Name: settingsName, Namespace: "osc-debug", ParameterNotFoundAction: &allow},
	}}, metav1.CreateOptions{})
	return ok(err)
}

// installPolicy installs the sandbox policy and a stand-in for SCC admission for the test's
// namespace only, with the namespace's own parameters.
func (e *env) installPolicy() {
	e.t.Helper()
	ctx := e.t.Context()
	only := &metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": e.ns}}
	printed, err := exec.Command(binary, "manifests", "policy").Output()
	e.ok(err)
	standIn, err := os.ReadFile("testdata/scc-stand-in.yaml")
	e.ok(err)
	client := core.AdmissionregistrationV1()
	for _, doc := range strings.Split(string(printed)+"\n---\n"+string(standIn), "\n---\n") {
		var meta metav1.TypeMeta
		e.ok(yaml.Unmarshal([]byte(doc), &meta))
		switch meta.Kind {
		case "ValidatingAdmissionPolicy":
			var p admissionv1.ValidatingAdmissionPolicy
			e.ok(yaml.UnmarshalStrict([]byte(doc), &p))
			p.Name = e.ns + "-" + p.Name
			_, err := client.ValidatingAdmissionPolicies().Create(ctx, &p, metav1.CreateOptions{})
			e.ok(err)
			e.t.Cleanup(func() {
				_ = client.ValidatingAdmissionPolicies().Delete(context.Background(), p.Name, metav1.DeleteOptions{})
			})
			e.bindPolicy(p.Name, p.Spec.ParamKind != nil)
		case "MutatingAdmissionPolicy":
			var p admissionv1.MutatingAdmissionPolicy
			e.ok(yaml.UnmarshalStrict([]byte(doc), &p))
			p.Name = e.ns + "-" + p.Name
			_, err := client.MutatingAdmissionPolicies().Create(ctx, &p, metav1.CreateOptions{})
			e.ok(err)
			e.t.Cleanup(func() {
				_ = client.MutatingAdmissionPolicies().Delete(context.Background(), p.Name, metav1.DeleteOptions{})
			})
			_, err = client.MutatingAdmissionPolicyBindings().Create(ctx, &admissionv1.MutatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: p.Name},
				Spec: admissionv1.MutatingAdmissionPolicyBindingSpec{PolicyName: p.Name, MatchResources: &admissionv1.MatchResources{NamespaceSelector: only}}}, metav1.CreateOptions{})
			e.ok(err)
			e.t.Cleanup(func() {
				_ = client.MutatingAdmissionPolicyBindings().Delete(context.Background(), p.Name, metav1.DeleteOptions{})
			})
		case "ValidatingAdmissionPolicyBinding": // bindPolicy creates one for this namespace instead
		default:
			e.t.Fatalf("the manifests have an unexpected %s", meta.Kind)
		}
	}
	// One list has one entry per line, as is usual in YAML, the other mixes separators.
	e.setParameters(map[string]string{"runtimeClasses": "kata\nkata-remote\n", "images": approvedImage + "\r\n\tquay.io/osc-debug/full@sha256:" + strings.Repeat("3", 64)})
}

// bindPolicy binds a policy to the test's namespace.
func (e *env) bindPolicy(policy string, parameters bool) {
	e.t.Helper()
	binding := admissionv1.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: policy}, Spec: admissionv1.ValidatingAdmissionPolicyBindingSpec{
		PolicyName: policy, ValidationActions: []admissionv1.ValidationAction{admissionv1.Deny},
		MatchResources: &admissionv1.MatchResources{NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": e.ns}}}}}
	if parameters {
		deny := admissionv1.DenyAction
		binding.Spec.ParamRef = &admissionv1.ParamRef{Name: settingsName, Namespace: e.ns, ParameterNotFoundAction: &deny}
	}
	bindings := core.AdmissionregistrationV1().ValidatingAdmissionPolicyBindings()
	_, err := bindings.Create(e.t.Context(), &binding, metav1.CreateOptions{})
	e.ok(err)
	e.t.Cleanup(func() { _ = bindings.Delete(context.Background(), policy, metav1.DeleteOptions{}) })
}

// setParameters sets the policy's parameters; nil deletes them.
func (e *env) setParameters(data map[string]string) {
	e.t.Helper()
	maps := core.CoreV1().ConfigMaps(e.ns)
	_ = maps.Delete(e.t.Context(), settingsName, metav1.DeleteOptions{})
	if data == nil {
		return
	}
	_, err := maps.Create(e.t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: settingsName}, Data: data}, metav1.CreateOptions{})
	e.ok(err)
}

// grantSCC allows a user to use SCC osc-debug-kata.
func (e *env) grantSCC(user string) {
	e.t.Helper()
	_, err := core.RbacV1().Roles(e.ns).Create(e.t.Context(), &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: "scc-" + user}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"pods/ephemeralcontainers"}, Verbs: []string{"update", "patch"}}, // role edit does not include this
		{APIGroups: []string{"security.openshift.io"}, Resources: []string{"securitycontextconstraints"}, ResourceNames: []string{"osc-debug-kata"}, Verbs: []string{"use"}}}}, metav1.CreateOptions{})
	e.ok(err)
	_, err = core.RbacV1().RoleBindings(e.ns).Create(e.t.Context(), &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "scc-" + user},
		RoleRef:  rbacv1.RoleRef{APIGroup: "rbac.authorization.k8s.io", Kind: "Role", Name: "scc-" + user},
		Subjects: []rbacv1.Subject{{Kind: "User", APIGroup: "rbac.authorization.k8s.io", Name: user}}}, metav1.CreateOptions{})
	e.ok(err)
}

// clientOf returns a user's client.
func (e *env) clientOf(user string) kubernetes.Interface {
	e.t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig(user))
	e.ok(err)
	config.QPS, config.Burst = 100, 200
	return kubernetes.NewForConfigOrDie(config)
}

// sandboxPod returns a pod as a session creates it, except that no scheduler schedules it.
func (e *env) sandboxPod(name string) *corev1.Pod {
	kata, yes, deadline := "kata", true, int64(14400)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: e.ns, Labels: map[string]string{record.Label: "bcdfghjk"},
			Annotations:     map[string]string{record.RouteNameKey: "shop", record.RouteUIDKey: string(e.owner), "openshift.io/required-scc": "osc-debug-kata"},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "route.openshift.io/v1", Kind: "Route", Name: "shop", UID: e.owner}},
		},
		Spec: corev1.PodSpec{
			SchedulerName: "nobody", RuntimeClassName: &kata, ActiveDeadlineSeconds: &deadline, ShareProcessNamespace: &yes,
			InitContainers: []corev1.Container{{Name: "init", Image: "quay.io/shop/web:3"}},
			Containers: []corev1.Container{
				{Name: "web", Image: "quay.io/shop/web:3", Ports: []corev1.ContainerPort{{ContainerPort: 8080}}},
				{Name: "osc-debug", Image: approvedImage, SecurityContext: &corev1.SecurityContext{Privileged: &yes}},
			},
		},
	}
}

// An ordinary user with permission to use the SCC tries to run privileged containers outside a VM or from an
// unapproved image, or to use resources of the node. Each attempt is rejected for the right reason,
// and its twin, the same pod without the offence, is admitted.
func TestTheSandboxPolicy(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.owner = e.createPlainRoute("shop").UID
	e.grantSCC("alice")
	_, err := core.NodeV1().RuntimeClasses().Create(t.Context(), &nodev1.RuntimeClass{ObjectMeta: metav1.ObjectMeta{Name: "e2e-plain"}, Handler: "runc"}, metav1.CreateOptions{})
	e.ok(err)
	t.Cleanup(func() {
		_ = core.NodeV1().RuntimeClasses().Delete(context.Background(), "e2e-plain", metav1.DeleteOptions{})
	})
	_, err = core.CoreV1().Namespaces().Patch(t.Context(), e.ns, types.MergePatchType, []byte(`{"metadata":{"annotations":{"openshift.io/sa.scc.mcs":"`+ownLevel+`"}}}`), metav1.PatchOptions{})
	e.ok(err)
	e.installPolicy()
	alice := e.clientOf("alice").CoreV1().Pods(e.ns)
	try := func(change func(*corev1.Pod)) error {
		p := e.sandboxPod("try")
		if change != nil {
			change(p)
		}
		_, err := alice.Create(t.Context(), p, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err
	}
	var offends, sound error
	defer func() { t.Logf("with the offence: %v; without: %v", offends, sound) }()
	e.eventually("the policies are in force", func() bool {
		offends, sound = try(asOrdinaryPod(func(p *corev1.Pod) { p.Labels = map[string]string{record.Label: "x"} })), try(nil)
		unmarked := try(attempts()["no session, no VM"].change) // the stand-in for SCC admission is a policy too
		return deniedBy(reason.SandboxNotInVM).matches(offends) && sound == nil && unmarked != nil
	})
	tried := 0
	expect := func(name string, d denial, err, twin error) {
		t.Helper()
		tried++
		if !d.matches(err) {
			t.Errorf("%s: got %v, wanted a rejection by %+v", name, err, d)
		}
		if twin != nil {
			t.Errorf("%s: its twin was rejected: %v", name, twin)
		}
	}
	for name, a := range attempts() {
		expect(name, a.denial, try(a.change), try(a.twin))
	}
	there := e.tryUpdates(expect)
	e.tryEphemeral(expect)
	e.tryWorkloads(expect)

	bob := e.clientOf("bob").CoreV1().Pods(e.ns)
	e.bind("bob", "edit")
	e.eventually("bob has the rights", func() bool {
		_, err := bob.List(t.Context(), metav1.ListOptions{})
		return err == nil
	})
	_, err = bob.Create(t.Context(), e.sandboxPod("try"), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	expect("without the grant", deniedBySCC, err, try(nil))

	for name, c := range map[string]struct {
		data   map[string]string
		denial denial
	}{
		"no parameters":         {nil, denial{value: "no params found"}},
		"no images named":       {map[string]string{"runtimeClasses": "kata", "images": ""}, deniedBy(reason.ImageNotAllowed, "osc-debug with "+approvedImage)},
		"no key images":         {map[string]string{"runtimeClasses": "kata"}, deniedBy(reason.ImageNotAllowed, "osc-debug with "+approvedImage)},
		"images by tag":         {map[string]string{"runtimeClasses": "kata", "images": "quay.io/osc-debug/sidecar"}, deniedBy(reason.ImageNotAllowed, "osc-debug with "+approvedImage)},
		"no runtime classes":    {map[string]string{"runtimeClasses": " ", "images": approvedImage}, deniedBy(reason.SandboxNotInVM, "runtimeClasses")},
		"no key runtimeClasses": {map[string]string{"images": approvedImage}, deniedBy(reason.SandboxNotInVM, "runtimeClasses")},
	} {
		twin := try(nil)
		e.setParameters(c.data)
		var err error
		e.eventually("the policy uses its new parameters", func() bool {
			err = try(nil)
			return c.denial.matches(err)
		})
		expect(name, c.denial, err, twin)
		if err := try(asOrdinaryPod(func(*corev1.Pod) {})); err != nil {
			t.Errorf("%s: an ordinary pod was rejected: %v", name, err)
		}
		// An existing sandbox can still be deleted (here: get a finalizer) but not changed. Without
		// parameters the API server rejects both, because it does not evaluate the policy.
		if c.data != nil {
			_, err = alice.Patch(t.Context(), there, types.MergePatchType, []byte(`{"metadata":{"finalizers":["example.com/gc"]}}`), dryRun)
		} else {
			err = nil
		}
		_, changed := alice.Patch(t.Context(), there, types.MergePatchType, []byte(`{"metadata":{"annotations":{"team/note":"y"}}}`), dryRun)
		expect(name+", later", c.denial, changed, err)
		e.setParameters(map[string]string{"runtimeClasses": "kata kata-remote", "images": approvedImage})
		e.eventually("the policy uses its old parameters", func() bool { return try(nil) == nil })
	}
	summarize(t, "%d attempts", tried)
	if tried < 105 {
		t.Errorf("only %d attempts, wanted at least 105", tried)
	}
}
