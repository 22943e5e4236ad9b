//go:build e2e

package e2e

import (
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/session/record"
)

// deniedBySCC is the denial by the stand-in for SCC admission, which uses OpenShift's message.
var deniedBySCC = denial{value: "unable to validate against any security context constraint"}

var dryRun = metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}}

// tryUpdates tries to change an existing sandbox pod in forbidden ways, and returns the pod's name.
func (e *env) tryUpdates(h holder, expect func(name string, d denial, err, twin error)) (there string) {
	ctx := e.t.Context()
	pods := h.client.CoreV1().Pods(e.ns)
	p := e.sandboxPod(record.PodName("bcdfghjk", 1+len(h.account))) // a name for each holder
	p.Spec.ServiceAccountName = h.account
	created, err := pods.Create(ctx, p, metav1.CreateOptions{})
	e.ok(err)
	dry := metav1.UpdateOptions{DryRun: []string{metav1.DryRunAll}}
	update := func(change func(*corev1.Pod)) error {
		p := created.DeepCopy()
		change(p)
		_, err := pods.Update(ctx, p, dry)
		return err
	}
	ephemeral := func(c corev1.EphemeralContainerCommon) error {
		p := created.DeepCopy()
		c.Name = "late"
		p.Spec.EphemeralContainers = append(p.Spec.EphemeralContainers, corev1.EphemeralContainer{EphemeralContainerCommon: c})
		_, err := pods.UpdateEphemeralContainers(ctx, p.Name, p, dry)
		return err
	}
	yes := true
	harmless := func(p *corev1.Pod) { p.Annotations["team.example.com/note"] = "x" }
	owner := func(change func(*metav1.OwnerReference)) func(*corev1.Pod) {
		return func(p *corev1.Pod) { change(&p.OwnerReferences[0]) }
	}
	for name, c := range map[string]struct {
		change, twin func(*corev1.Pod)
		denial       denial
	}{
		"image of the sidecar":   {func(p *corev1.Pod) { p.Spec.Containers[1].Image = "quay.io/evil/tools:1" }, func(p *corev1.Pod) { p.Spec.Containers[0].Image = "quay.io/shop/web:4" }, deniedBy(reason.ImageNotAllowed, "osc-debug with quay.io/evil/tools:1")},
		"session removed":        {func(p *corev1.Pod) { delete(p.Labels, record.Label) }, harmless, deniedBy(sandboxWithoutSession)},
		"session changed":        {func(p *corev1.Pod) { p.Labels[record.Label] = "evil" }, func(p *corev1.Pod) { p.Labels["team"] = "x" }, deniedBy(sandboxWithoutSession)},
		"session and SCC hidden": {func(p *corev1.Pod) { delete(p.Labels, record.Label); delete(p.Annotations, "openshift.io/scc") }, harmless, deniedBy(sandboxWithoutSession)},
		"another session's":      {func(p *corev1.Pod) { p.Labels[record.Label] = "bcdfghjj" }, harmless, deniedBy(sandboxMarksChanged)},
		"Route removed":          {func(p *corev1.Pod) { delete(p.Annotations, record.RouteNameKey) }, harmless, deniedBy(sandboxMarksChanged)},
		"another Route's UID":    {func(p *corev1.Pod) { p.Annotations[record.RouteUIDKey] = "other" }, harmless, deniedBy(sandboxMarksChanged)},
		"runtime annotation":     {func(p *corev1.Pod) { p.Annotations["io.katacontainers.config.agent.debug_console"] = "x" }, harmless, deniedBy(reason.AnnotationNotAllowed)},
		"a note":                 {func(p *corev1.Pod) { p.Annotations["example.com/note"] = "x" }, harmless, deniedBy(reason.AnnotationNotAllowed)},
		"a finalizer":            {func(p *corev1.Pod) { p.Finalizers = []string{"example.com/stay"} }, func(p *corev1.Pod) { p.Finalizers = []string{"foregroundDeletion"} }, deniedBy(finalizerNotAllowed)},
		"no owner":               {func(p *corev1.Pod) { p.OwnerReferences = nil }, harmless, deniedBy(sandboxWithoutRoute)},
		"another owner":          {owner(func(r *metav1.OwnerReference) { r.UID = "other" }), harmless, deniedBy(sandboxWithoutRoute)},
		"its Route controls it":  {owner(func(r *metav1.OwnerReference) { r.Controller = &yes }), harmless, deniedBy(sandboxWithoutRoute)},
		"adopted": {func(p *corev1.Pod) {
			p.OwnerReferences = append(p.OwnerReferences, metav1.OwnerReference{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "web", UID: "x", Controller: &yes})
		}, harmless, deniedBy(sandboxWithoutRoute)},
		"adopted alone": {func(p *corev1.Pod) {
			p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "web", UID: "x", Controller: &yes}}
		}, harmless, deniedBy(sandboxWithoutRoute)},
	} {
		expect(name, c.denial, update(c.change), update(c.twin))
	}
	for name, c := range map[string]struct {
		offence, twin corev1.EphemeralContainerCommon
	}{
		"ephemeral, privileged":        {corev1.EphemeralContainerCommon{Image: "quay.io/evil/tools:1", SecurityContext: &corev1.SecurityContext{Privileged: &yes}}, corev1.EphemeralContainerCommon{Image: approvedImage, SecurityContext: &corev1.SecurityContext{Privileged: &yes}}},
		"ephemeral, with capabilities": {corev1.EphemeralContainerCommon{Image: "quay.io/evil/tools:1", SecurityContext: &corev1.SecurityContext{Capabilities: &corev1.Capabilities{Add: []corev1.Capability{"SYS_ADMIN"}}}}, corev1.EphemeralContainerCommon{Image: "quay.io/shop/tools:1"}},
	} {
		expect(name, deniedBy(reason.ImageNotAllowed, "late with quay.io/evil/tools:1"), ephemeral(c.offence), ephemeral(c.twin))
	}
	// Without a node, the API server sets the grace period to 0 before policies see it.
	e.ok(core.CoreV1().Pods(e.ns).Bind(ctx, &corev1.Binding{
		ObjectMeta: metav1.ObjectMeta{Name: created.Name}, Target: corev1.ObjectReference{Kind: "Node", Name: fakeNode},
	}, metav1.CreateOptions{}))
	remove := func(grace int64) error {
		return pods.Delete(ctx, created.Name, metav1.DeleteOptions{DryRun: []string{metav1.DryRunAll}, GracePeriodSeconds: &grace})
	}
	expect("deleted with a year's grace", deniedBy(gracePeriodTooLong), remove(31_536_000), remove(60))
	expect("deleted with 61 s grace", deniedBy(gracePeriodTooLong), remove(61), remove(0))
	evict := func(grace *int64) error {
		return pods.EvictV1(ctx, &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: created.Name},
			DeleteOptions: &metav1.DeleteOptions{DryRun: []string{metav1.DryRunAll}, GracePeriodSeconds: grace}})
	}
	year, minute := int64(31_536_000), int64(60)
	expect("evicted with a year's grace", deniedBy(gracePeriodTooLong), evict(&year), evict(&minute))
	return created.Name
}

// tryEphemeral tries to add ephemeral containers to an ordinary pod that only SCC osc-debug-kata admits.
func (e *env) tryEphemeral(h holder, expect func(name string, d denial, err, twin error)) {
	p := e.sandboxPod("ordinary" + h.account)
	p.Spec.ServiceAccountName = h.account
	asOrdinaryPod(func(*corev1.Pod) {})(p)
	created, err := h.client.CoreV1().Pods(e.ns).Create(e.t.Context(), p, metav1.CreateOptions{})
	e.ok(err)
	for name, c := range ephemeralAttempts() {
		expect("ephemeral in an ordinary pod: "+name, deniedBy(ephemeralContainerNotInVM, "late"),
			e.addEphemeral(h.client, created, c.offence), e.addEphemeral(h.client, created, c.twin))
		if err := e.addEphemeral(core, created, c.offence); err != nil {
			e.t.Errorf("%s: rejected for an administrator: %v", name, err)
		}
	}
}

// addEphemeral sends a dry run of adding an ephemeral container with a security context.
func (e *env) addEphemeral(client kubernetes.Interface, to *corev1.Pod, s *corev1.SecurityContext) error {
	p := to.DeepCopy()
	p.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "late", Image: approvedImage, SecurityContext: s}}}
	_, err := client.CoreV1().Pods(e.ns).UpdateEphemeralContainers(e.t.Context(), p.Name, p, metav1.UpdateOptions{DryRun: []string{metav1.DryRunAll}})
	return err
}

// ephemeralAttempts are security contexts of ephemeral containers that only SCC osc-debug-kata admits,
// and twins that SCC restricted-v2 admits too.
func ephemeralAttempts() map[string]struct{ offence, twin *corev1.SecurityContext } {
	yes, no, uid := true, false, func(id int64) *int64 { return &id }
	add := func(c ...corev1.Capability) *corev1.SecurityContext {
		return &corev1.SecurityContext{Capabilities: &corev1.Capabilities{Add: c}}
	}
	seccomp := func(kind corev1.SeccompProfileType, file *string) *corev1.SecurityContext {
		return &corev1.SecurityContext{SeccompProfile: &corev1.SeccompProfile{Type: kind, LocalhostProfile: file}}
	}
	selinux := func(o corev1.SELinuxOptions) *corev1.SecurityContext {
		return &corev1.SecurityContext{SELinuxOptions: &o}
	}
	profile := "x.json"
	own := selinux(corev1.SELinuxOptions{Level: ownLevel})
	return map[string]struct{ offence, twin *corev1.SecurityContext }{
		"privileged":                 {&corev1.SecurityContext{Privileged: &yes}, nil},
		"SYS_PTRACE":                 {add("SYS_PTRACE"), add("NET_BIND_SERVICE")},
		"NET_ADMIN and a usual one":  {add("NET_BIND_SERVICE", "NET_ADMIN"), add("NET_BIND_SERVICE")},
		"all capabilities":           {add("ALL"), add()},
		"more privileges by setuid":  {&corev1.SecurityContext{AllowPrivilegeEscalation: &yes}, &corev1.SecurityContext{AllowPrivilegeEscalation: &no}},
		"SELinux type":               {selinux(corev1.SELinuxOptions{Type: "spc_t"}), own},
		"SELinux type and own level": {selinux(corev1.SELinuxOptions{Type: "spc_t", Level: ownLevel}), own},
		"SELinux level of others":    {selinux(corev1.SELinuxOptions{Level: "s0:c1,c2"}), own},
		"SELinux user":               {selinux(corev1.SELinuxOptions{User: "system_u", Level: ownLevel}), own},
		"SELinux role":               {selinux(corev1.SELinuxOptions{Role: "system_r", Level: ownLevel}), own},
		"unconfined":                 {seccomp(corev1.SeccompProfileTypeUnconfined, nil), seccomp(corev1.SeccompProfileTypeRuntimeDefault, nil)},
		"a profile of the node":      {seccomp(corev1.SeccompProfileTypeLocalhost, &profile), seccomp(corev1.SeccompProfileTypeRuntimeDefault, nil)},
		"root":                       {&corev1.SecurityContext{RunAsUser: uid(0)}, &corev1.SecurityContext{RunAsUser: uid(1000650000)}},
		"another user":               {&corev1.SecurityContext{RunAsUser: uid(4242)}, &corev1.SecurityContext{RunAsUser: uid(1000650001)}},
		"the user before the range":  {&corev1.SecurityContext{RunAsUser: uid(1000649999)}, &corev1.SecurityContext{RunAsUser: uid(1000650000)}},
		"the user after the range":   {&corev1.SecurityContext{RunAsUser: uid(1000660000)}, &corev1.SecurityContext{RunAsUser: uid(1000659999)}},
		"not root, but another user": {&corev1.SecurityContext{RunAsUser: uid(4242), RunAsNonRoot: &yes}, &corev1.SecurityContext{RunAsNonRoot: &yes}},
	}
}

// tryOutsiders has people and programs create privileged and other unusual pods who need no sandbox for
// them: administrators, operators, and users of other SCCs. All are admitted, as without the policies.
// A user with permission to use SCC anyuid, beside ours, can run as root, and gains nothing else by that.
func (e *env) tryOutsiders(outsiders map[string]func() error, expect func(name string, d denial, err, twin error)) {
	for name, create := range outsiders {
		if err := create(); err != nil {
			e.t.Errorf("%s: rejected: %v", name, err)
		}
	}
	if len(outsiders) < 20 {
		e.t.Errorf("only %d pods of others, wanted at least 20", len(outsiders))
	}
	e.grantSCCs("carol", "osc-debug-kata", "anyuid")
	e.bind("carol", "edit")
	carol := e.clientOf("carol")
	p := e.sandboxPod("carols")
	asOrdinaryPod(func(*corev1.Pod) {})(p)
	var created *corev1.Pod
	e.eventually("carol has the rights", func() (ok bool) {
		var err error
		created, err = carol.CoreV1().Pods(e.ns).Create(e.t.Context(), p, metav1.CreateOptions{})
		return err == nil
	})
	root := &corev1.SecurityContext{RunAsUser: new(int64)}
	for name, offence := range ephemeralAttempts() {
		if name == "root" || name == "another user" || strings.Contains(name, "user") || name == "more privileges by setuid" {
			continue // anyuid admits these
		}
		expect("with SCC anyuid, ephemeral in an ordinary pod: "+name, deniedBy(ephemeralContainerNotInVM, "late"), e.addEphemeral(carol, created, offence.offence), e.addEphemeral(carol, created, root))
	}
}

// tryWorkloads tries to have controllers create the pods. Then the rights of the controller and of the
// pods' ServiceAccount count, and controllers may not use the SCC. (A DeploymentConfig creates ReplicationControllers.)
func (e *env) tryWorkloads(h holder, expect func(name string, d denial, err, twin error)) {
	ctx := e.t.Context()
	client := h.client
	deniedByPolicy, deniedByGrant := deniedBy(reason.SandboxNotInVM), deniedBySCC
	if h.account != "" {
		deniedByGrant = deniedBy(sandboxWithoutSession) // SCC admission asks the ServiceAccount, not the controller
	}
	template := func(d denial) corev1.PodTemplateSpec {
		p := e.sandboxPod("")
		p.Spec.ServiceAccountName = h.account
		if d != deniedByGrant {
			asOrdinaryPod(func(*corev1.Pod) {})(p)
		}
		p.OwnerReferences, p.Labels = nil, map[string]string{"app": "try"} // no session, so that only the SCC decides
		if d == deniedByPolicy {
			p.Labels[record.Label] = "bcdfghjk" // a session but no SCC, so that only the policy decides
		}
		return corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: p.Labels, Annotations: p.Annotations}, Spec: p.Spec}
	}
	selector := &metav1.LabelSelector{MatchLabels: map[string]string{"app": "try"}}
	deployment := func(name string, t corev1.PodTemplateSpec) error {
		t.Spec.ActiveDeadlineSeconds = nil
		_, err := client.AppsV1().Deployments(e.ns).Create(ctx, &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: appsv1.DeploymentSpec{Selector: selector, Template: t}}, metav1.CreateOptions{})
		return err
	}
	for kind, create := range map[string]func(name string, t corev1.PodTemplateSpec) error{
		"Deployment": deployment,
		"ReplicaSet": func(name string, t corev1.PodTemplateSpec) error {
			t.Spec.ActiveDeadlineSeconds = nil
			_, err := client.AppsV1().ReplicaSets(e.ns).Create(ctx, &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: appsv1.ReplicaSetSpec{Selector: selector, Template: t}}, metav1.CreateOptions{})
			return err
		},
		"StatefulSet": func(name string, t corev1.PodTemplateSpec) error {
			t.Spec.ActiveDeadlineSeconds = nil
			_, err := client.AppsV1().StatefulSets(e.ns).Create(ctx, &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: appsv1.StatefulSetSpec{Selector: selector, Template: t}}, metav1.CreateOptions{})
			return err
		},
		"ReplicationController": func(name string, t corev1.PodTemplateSpec) error {
			t.Spec.ActiveDeadlineSeconds = nil
			_, err := client.CoreV1().ReplicationControllers(e.ns).Create(ctx, &corev1.ReplicationController{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.ReplicationControllerSpec{Template: &t}}, metav1.CreateOptions{})
			return err
		},
		"Job": func(name string, t corev1.PodTemplateSpec) error {
			t.Spec.RestartPolicy = corev1.RestartPolicyNever
			_, err := client.BatchV1().Jobs(e.ns).Create(ctx, &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: batchv1.JobSpec{Template: t}}, metav1.CreateOptions{})
			return err
		},
		"CronJob": func(name string, t corev1.PodTemplateSpec) error {
			t.Spec.RestartPolicy = corev1.RestartPolicyNever
			_, err := client.BatchV1().CronJobs(e.ns).Create(ctx, &batchv1.CronJob{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: batchv1.CronJobSpec{Schedule: "* * * * *", JobTemplate: batchv1.JobTemplateSpec{Spec: batchv1.JobSpec{Template: t}}}}, metav1.CreateOptions{})
			return err
		},
		"DaemonSet": func(name string, t corev1.PodTemplateSpec) error {
			t.Spec.ActiveDeadlineSeconds = nil
			_, err := client.AppsV1().DaemonSets(e.ns).Create(ctx, &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: appsv1.DaemonSetSpec{Selector: selector, Template: t}}, metav1.CreateOptions{})
			return err
		},
		"session's Deployment": deployment,
	} {
		name, d := "try-"+strings.NewReplacer("'", "", " ", "-").Replace(strings.ToLower(kind))+h.account, deniedByGrant
		if strings.HasPrefix(kind, "session's") {
			d = deniedByPolicy
		}
		e.ok(create(name, template(d)))
		e.ok(create("ok-"+name, template(denial{})))
		var refusal error
		e.eventually("the pods of "+kind+" are rejected", func() bool { // a CronJob starts with the next minute
			list, err := core.CoreV1().Events(e.ns).List(ctx, metav1.ListOptions{FieldSelector: "reason=FailedCreate"})
			e.ok(err)
			for _, event := range list.Items {
				if strings.HasPrefix(event.InvolvedObject.Name, name) {
					refusal = fmt.Errorf("%s", event.Message)
					return true
				}
			}
			return false
		})
		e.eventually("the twin of "+kind+" has pods", func() bool { return len(e.podsNamed("ok-"+name)) > 0 })
		expect(kind, d, refusal, nil)
		if len(e.podsNamed(name)) > 0 {
			e.t.Errorf("%s has pods", kind)
		}
	}
}

func (e *env) podsNamed(prefix string) (out []string) {
	list, err := core.CoreV1().Pods(e.ns).List(e.t.Context(), metav1.ListOptions{})
	e.ok(err)
	for _, p := range list.Items {
		if strings.HasPrefix(p.Name, prefix) {
			out = append(out, p.Name)
		}
	}
	return out
}
