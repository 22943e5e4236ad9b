//go:build e2e

package e2e

import (
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/session/record"
)

// deniedBySCC is the denial by the stand-in for SCC admission, which uses OpenShift's message.
var deniedBySCC = denial{value: "unable to validate against any security context constraint"}

var dryRun = metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}}

// tryUpdates tries to change an existing sandbox pod in forbidden ways, and returns the pod's name.
func (e *env) tryUpdates(expect func(name string, d denial, err, twin error)) (there string) {
	ctx := e.t.Context()
	alice := e.clientOf("alice").CoreV1().Pods(e.ns)
	created, err := alice.Create(ctx, e.sandboxPod("there"), metav1.CreateOptions{})
	e.ok(err)
	dry := metav1.UpdateOptions{DryRun: []string{metav1.DryRunAll}}
	update := func(change func(*corev1.Pod)) error {
		p := created.DeepCopy()
		change(p)
		_, err := alice.Update(ctx, p, dry)
		return err
	}
	ephemeral := func(c corev1.EphemeralContainerCommon) error {
		p := created.DeepCopy()
		c.Name = "late"
		p.Spec.EphemeralContainers = append(p.Spec.EphemeralContainers, corev1.EphemeralContainer{EphemeralContainerCommon: c})
		_, err := alice.UpdateEphemeralContainers(ctx, p.Name, p, dry)
		return err
	}
	yes := true
	harmless := func(p *corev1.Pod) { p.Annotations["team/note"] = "x" }
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
		"runtime annotation":     {func(p *corev1.Pod) { p.Annotations["io.katacontainers.config.agent.debug_console"] = "x" }, harmless, deniedBy(reason.RuntimeAnnotationNotAllowed)},
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
	return created.Name
}

// tryEphemeral tries to add privileged ephemeral containers to an ordinary pod. An administrator, who
// may run privileged containers anywhere, still can.
func (e *env) tryEphemeral(expect func(name string, d denial, err, twin error)) {
	ctx, yes := e.t.Context(), true
	p := e.sandboxPod("ordinary")
	asOrdinaryPod(func(*corev1.Pod) {})(p)
	created, err := e.clientOf("alice").CoreV1().Pods(e.ns).Create(ctx, p, metav1.CreateOptions{})
	e.ok(err)
	add := func(client kubernetes.Interface, s *corev1.SecurityContext) error {
		p := created.DeepCopy()
		p.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "late", Image: approvedImage, SecurityContext: s}}}
		_, err := client.CoreV1().Pods(e.ns).UpdateEphemeralContainers(ctx, p.Name, p, metav1.UpdateOptions{DryRun: []string{metav1.DryRunAll}})
		return err
	}
	for name, offence := range map[string]*corev1.SecurityContext{
		"ephemeral in an ordinary pod, privileged": {Privileged: &yes},
		"ephemeral in an ordinary pod, SYS_PTRACE": {Capabilities: &corev1.Capabilities{Add: []corev1.Capability{"SYS_PTRACE"}}},
		"ephemeral in an ordinary pod, spc_t":      {SELinuxOptions: &corev1.SELinuxOptions{Type: "spc_t"}},
		"ephemeral in an ordinary pod, unconfined": {SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeUnconfined}},
		"ephemeral in an ordinary pod, root":       {RunAsUser: new(int64)},
	} {
		expect(name, deniedBy(ephemeralContainerNotInVM), add(e.clientOf("alice"), offence), add(e.clientOf("alice"), nil))
		if err := add(core, offence); err != nil {
			e.t.Errorf("%s: rejected for an administrator: %v", name, err)
		}
	}
}

// tryWorkloads tries to have controllers create the pods. Then the controller's rights count, and
// controllers may not use the SCC. (A DeploymentConfig creates ReplicationControllers.)
func (e *env) tryWorkloads(expect func(name string, d denial, err, twin error)) {
	ctx := e.t.Context()
	client := e.clientOf("alice")
	deniedByPolicy := deniedBy(reason.SandboxNotInVM)
	template := func(d denial) corev1.PodTemplateSpec {
		p := e.sandboxPod("")
		if d != deniedBySCC {
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
		name, d := "try-"+strings.NewReplacer("'", "", " ", "-").Replace(strings.ToLower(kind)), deniedBySCC
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
