//go:build e2e

package e2e

import (
	"context"
	"os/exec"
	"slices"
	"strings"
	"testing"

	routeclient "github.com/openshift/client-go/route/clientset/versioned"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
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

// installPolicy installs the sandbox policies for the test's namespace only, with the namespace's own
// parameters.
func (e *env) installPolicy() {
	e.t.Helper()
	e.installPolicies("osc-debug-sandbox", "osc-debug-scc", "osc-debug-deletion", "osc-debug-eviction")
	e.setParameters(parameters())
}

// installPolicies installs some of the policies that 'osc-debug manifests policy' prints, for the test's
// namespace only.
func (e *env) installPolicies(names ...string) {
	e.t.Helper()
	printed, err := exec.Command(binary, "manifests", "policy").Output()
	e.ok(err)
	client, installed := core.AdmissionregistrationV1().ValidatingAdmissionPolicies(), 0
	for doc := range strings.SplitSeq(string(printed), "\n---\n") {
		var p admissionv1.ValidatingAdmissionPolicy
		e.ok(yaml.Unmarshal([]byte(doc), &p))
		if p.Kind != "ValidatingAdmissionPolicy" || !slices.Contains(names, p.Name) {
			continue
		}
		e.ok(yaml.UnmarshalStrict([]byte(doc), &p))
		p.Name = e.ns + "-" + p.Name
		_, err := client.Create(e.t.Context(), &p, metav1.CreateOptions{})
		e.ok(err)
		e.t.Cleanup(func() { _ = client.Delete(context.Background(), p.Name, metav1.DeleteOptions{}) })
		e.bindPolicy(p.Name, p.Spec.ParamKind != nil)
		installed++
	}
	if installed != len(names) {
		e.t.Fatalf("the manifests have %d of the policies %q", installed, names)
	}
}

// parameters are the settings of the tests' administrator. One list has one entry per line, as is usual
// in YAML, the others mix separators.
func parameters() map[string]string {
	return map[string]string{
		"runtimeClasses": "kata\nkata-remote\n", "annotations": "team.example.com\tsidecar.example.com",
		"images": approvedImage + "\r\n\tquay.io/osc-debug/full@sha256:" + strings.Repeat("3", 64),
	}
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
func (e *env) grantSCC(user string) { e.grantSCCs(user, "osc-debug-kata") }

// grantSCCs allows a user, or the ServiceAccount system:serviceaccount:NAMESPACE:NAME, to use SCCs.
func (e *env) grantSCCs(user string, names ...string) {
	e.t.Helper()
	name := "scc-" + strings.ReplaceAll(user, ":", "-")
	_, err := core.RbacV1().Roles(e.ns).Create(e.t.Context(), &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"pods/ephemeralcontainers"}, Verbs: []string{"update", "patch"}}, // role edit does not include this
		{APIGroups: []string{"security.openshift.io"}, Resources: []string{"securitycontextconstraints"}, ResourceNames: names, Verbs: []string{"use"}}}}, metav1.CreateOptions{})
	e.ok(err)
	_, err = core.RbacV1().RoleBindings(e.ns).Create(e.t.Context(), &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: name},
		RoleRef:  rbacv1.RoleRef{APIGroup: "rbac.authorization.k8s.io", Kind: "Role", Name: name},
		Subjects: []rbacv1.Subject{{Kind: "User", APIGroup: "rbac.authorization.k8s.io", Name: user}}}, metav1.CreateOptions{})
	e.ok(err)
}

// clientOf returns a user's client.
func (e *env) clientOf(user string) kubernetes.Interface {
	e.t.Helper()
	return kubernetes.NewForConfigOrDie(e.configOf(user))
}

// configOf returns how a user reaches the API server.
func (e *env) configOf(user string) *rest.Config {
	e.t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig(user))
	e.ok(err)
	config.QPS, config.Burst = 100, 200
	return config
}

// routesOf returns a user's client for Routes.
func (e *env) routesOf(user string) routeclient.Interface {
	return routeclient.NewForConfigOrDie(e.configOf(user))
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

// holder is a user who creates pods that SCC osc-debug-kata admits: by the user's own permission to use
// it, or by that of the pods' ServiceAccount.
type holder struct {
	name    string
	client  kubernetes.Interface
	account string // ServiceAccount of the pods
}

// holders returns a user with permission to use the SCC, and a user without it, whose ServiceAccount has
// it.
func (e *env) holders() []holder {
	e.t.Helper()
	e.grantSCC("alice")
	_, err := core.CoreV1().ServiceAccounts(e.ns).Create(e.t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "ci"}}, metav1.CreateOptions{})
	e.ok(err)
	e.grantSCC("system:serviceaccount:" + e.ns + ":ci")
	e.bind("bob", "edit")
	e.grantSCCs("bob", "none") // the right to add ephemeral containers
	return []holder{{"alice", e.clientOf("alice"), ""}, {"ServiceAccount ci", e.clientOf("bob"), "ci"}}
}

// create sends a dry run of creating a sandbox pod that was changed.
func (h holder) create(e *env, change func(*corev1.Pod)) error {
	p := e.sandboxPod(record.PodName("bcdfghjk", 0))
	p.Spec.ServiceAccountName = h.account
	if change != nil {
		change(p)
	}
	_, err := h.client.CoreV1().Pods(e.ns).Create(e.t.Context(), p, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	return err
}

// attemptCount counts the attempts of a test and reports those that end otherwise than they must.
type attemptCount struct {
	t     *testing.T
	tried int
}

// expect wants an attempt to be rejected, and its twin without the offence to be admitted.
func (c *attemptCount) expect(name string, d denial, err, twin error) {
	c.t.Helper()
	c.tried++
	if !d.matches(err) {
		c.t.Errorf("%s: got %v, wanted a rejection by %+v", name, err, d)
	}
	if twin != nil {
		c.t.Errorf("%s: its twin was rejected: %v", name, twin)
	}
}

// Ordinary users try to run privileged containers outside a VM or from an unapproved image, or to use
// resources of the node. They, or the ServiceAccount of their pods, may use the SCC. Each attempt is
// rejected for the right reason, and its twin, the same pod without the offence, is admitted.
func TestTheSandboxPolicy(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.owner = e.createPlainRoute("shop").UID
	holders := e.holders()
	_, err := core.NodeV1().RuntimeClasses().Create(t.Context(), &nodev1.RuntimeClass{ObjectMeta: metav1.ObjectMeta{Name: "e2e-plain"}, Handler: "runc"}, metav1.CreateOptions{})
	e.ok(err)
	t.Cleanup(func() {
		_ = core.NodeV1().RuntimeClasses().Delete(context.Background(), "e2e-plain", metav1.DeleteOptions{})
	})
	e.startSCCAdmission()
	outsiders := e.outsiders()
	for name, create := range outsiders {
		e.eventually(name+" is admitted without the policies", func() bool { return create() == nil })
	}
	e.installPolicy()
	var offends, sound error
	defer func() { t.Logf("with the offence: %v; without: %v", offends, sound) }()
	e.eventually("the policies are in force", func() bool {
		inForce := true
		for _, h := range holders {
			offends, sound = h.create(e, asOrdinaryPod(func(p *corev1.Pod) { p.Labels = map[string]string{record.Label: "x"} })), h.create(e, nil)
			unmarked := h.create(e, attempts()["no session, no VM"].change) // the stand-in for SCC admission is a webhook
			inForce = inForce && deniedBy(reason.SandboxNotInVM).matches(offends) && sound == nil && deniedBy(sandboxWithoutSession).matches(unmarked)
		}
		return inForce
	})
	count := &attemptCount{t: t}
	there := map[string]string{}
	for _, h := range holders {
		expect := func(name string, d denial, err, twin error) {
			t.Helper()
			count.expect(h.name+": "+name, d, err, twin)
		}
		for name, a := range attempts() {
			expect(name, a.denial, h.create(e, a.change), h.create(e, a.twin))
		}
		for name, a := range fieldAttempts() {
			expect(name, a.denial, h.create(e, a.change), h.create(e, a.twin))
		}
		there[h.name] = e.tryUpdates(h, expect)
		e.tryEphemeral(h, expect)
		e.tryWorkloads(h, expect)
	}
	e.tryOutsiders(outsiders, count.expect)

	h := holders[0]
	alice := h.client.CoreV1().Pods(e.ns)
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
		twin := h.create(e, nil)
		e.setParameters(c.data)
		var err error
		e.eventually("the policy uses its new parameters", func() bool {
			err = h.create(e, nil)
			return c.denial.matches(err)
		})
		count.expect(name, c.denial, err, twin)
		if err := h.create(e, asOrdinaryPod(func(*corev1.Pod) {})); err != nil {
			t.Errorf("%s: an ordinary pod was rejected: %v", name, err)
		}
		// An existing sandbox can still be deleted (here: get the finalizer of a deletion) but not changed. Without
		// parameters the API server rejects both, because it does not evaluate the policy.
		if c.data != nil {
			_, err = alice.Patch(t.Context(), there[h.name], types.MergePatchType, []byte(`{"metadata":{"finalizers":["foregroundDeletion"]}}`), dryRun)
		} else {
			err = nil
		}
		_, changed := alice.Patch(t.Context(), there[h.name], types.MergePatchType, []byte(`{"metadata":{"labels":{"team":"y"}}}`), dryRun)
		count.expect(name+", later", c.denial, changed, err)
		e.setParameters(parameters())
		e.eventually("the policy uses its old parameters", func() bool { return h.create(e, nil) == nil })
	}
	summarize(t, "%d attempts", count.tried)
	if count.tried < 2*169 {
		t.Errorf("only %d attempts, wanted at least %d", count.tried, 2*169)
	}
}
