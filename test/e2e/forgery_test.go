//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	routev1 "github.com/openshift/api/route/v1"
	routeclient "github.com/openshift/client-go/route/clientset/versioned"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/osc-debug/osc-debug/pkg/session/record"
)

// limitedUser has the clients of a user with few rights.
type limitedUser struct {
	core   kubernetes.Interface
	routes routeclient.Interface
}

// createUser returns a user with the given rights in the test's namespace.
func (e *env) createUser(name string, rules ...rbacv1.PolicyRule) limitedUser {
	e.t.Helper()
	ctx := e.t.Context()
	_, err := core.RbacV1().Roles(e.ns).Create(ctx, &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: rules}, metav1.CreateOptions{})
	e.ok(err)
	_, err = core.RbacV1().RoleBindings(e.ns).Create(ctx, &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name}, RoleRef: rbacv1.RoleRef{APIGroup: "rbac.authorization.k8s.io", Kind: "Role", Name: name},
		Subjects: []rbacv1.Subject{{Kind: "User", APIGroup: "rbac.authorization.k8s.io", Name: name}},
	}, metav1.CreateOptions{})
	e.ok(err)
	for _, rule := range rules {
		e.waitForGrant(name, rule)
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig("admin"))
	e.ok(err)
	config.Impersonate = rest.ImpersonationConfig{UserName: name, Groups: []string{"system:authenticated"}}
	return limitedUser{kubernetes.NewForConfigOrDie(config), routeclient.NewForConfigOrDie(config)}
}

// waitForGrant waits until the API server grants a user the rights of a rule.
func (e *env) waitForGrant(user string, rule rbacv1.PolicyRule) {
	e.t.Helper()
	verb := rule.Verbs[0]
	resource, sub, _ := strings.Cut(rule.Resources[0], "/")
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{User: user, Groups: []string{"system:authenticated"},
		ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: e.ns, Verb: verb, Group: rule.APIGroups[0], Resource: resource, Subresource: sub}}}
	e.eventuallyPolled(fmt.Sprintf("%s may %s %s", user, verb, resource), func() bool {
		made, err := core.AuthorizationV1().SubjectAccessReviews().Create(e.t.Context(), review, metav1.CreateOptions{})
		e.ok(err)
		return made.Status.Allowed
	})
}

// allow returns a rule that allows verbs (separated by blanks) on resources of an API group.
func allow(group string, verbs string, resources ...string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{APIGroups: []string{group}, Resources: resources, Verbs: strings.Fields(verbs)}
}

// Users try to make the guard change a Route that they may not change, or delete a pod that is not a
// sandbox. User (a) may write pods and Services but not Routes, (b) may write Routes but not pods,
// (c) has rights only in another namespace. The attempts stay in place longer than any time that the
// guard waits for.
func TestForgedSessionsGainNothing(t *testing.T) {
	t.Parallel()
	e, elsewhere := newGuardedEnv(t), newGuardedEnv(t)
	e.deployment("web", 1, nil)
	elsewhere.deployment("web", 1, nil)
	quiet, busy := e.createRouteNamed("quiet"), e.createRouteNamed("busy")
	session1 := e.plant("busy", record.Live, time.Hour)
	busy = e.getRoute("busy")
	bystander := e.createPod("bystander", nil, nil)

	a := e.createUser("mallory-a-"+e.ns, allow("", "get list watch create update patch delete", "pods", "services"), allow("route.openshift.io", "get list", "routes"))
	b := e.createUser("mallory-b-"+e.ns, allow("route.openshift.io", "get list create update patch delete", "routes"), allow("route.openshift.io", "create", "routes/custom-host"), allow("", "get list", "pods"))
	c := elsewhere.createUser("mallory-c-"+e.ns, allow("", "*", "pods", "services"), allow("route.openshift.io", "*", "routes", "routes/custom-host"))

	attempts, refused := 0, 0
	var kept []*corev1.Pod // pods that are not sandboxes and must exist at the end
	try := func(what string, err error) {
		t.Helper()
		attempts++
		if err != nil {
			refused++
			t.Logf("%s: rejected by the API server: %v", what, err)
		}
	}

	// (a): pods and Services with the marks of sessions.
	id := record.NewID
	marks := func(r *routev1.Route) map[string]string {
		return map[string]string{record.RouteUIDKey: string(r.UID), record.RouteNameKey: r.Name}
	}
	kata, owner := "kata", func(r *routev1.Route) []metav1.OwnerReference {
		return []metav1.OwnerReference{{APIVersion: "route.openshift.io/v1", Kind: "Route", Name: r.Name, UID: r.UID}}
	}
	for name, change := range map[string]func(*corev1.Pod){
		"sandbox of a Route without session": func(p *corev1.Pod) { makeLookLikeSandbox(p, id(), marks(quiet)) },
		"sandbox of another's session":       func(p *corev1.Pod) { makeLookLikeSandbox(p, session1.Session, marks(busy)) },
		"sandbox of a Route in another name": func(p *corev1.Pod) { makeLookLikeSandbox(p, session1.Session, marks(quiet)) },
		"label alone, another's session":     func(p *corev1.Pod) { p.Labels = map[string]string{record.Label: session1.Session} },
		"label that is not an ID":            func(p *corev1.Pod) { makeLookLikeSandbox(p, "..", marks(quiet)); p.Labels[record.Label] = "a.b" },
		"annotations of two Routes mixed": func(p *corev1.Pod) {
			makeLookLikeSandbox(p, session1.Session, map[string]string{record.RouteUIDKey: string(quiet.UID), record.RouteNameKey: "busy"})
		},
		"route name that is a path": func(p *corev1.Pod) {
			makeLookLikeSandbox(p, id(), map[string]string{record.RouteUIDKey: string(quiet.UID), record.RouteNameKey: "../../../x/routes/quiet"})
		},
		"owned by the Route": func(p *corev1.Pod) { makeLookLikeSandbox(p, id(), marks(quiet)); p.OwnerReferences = owner(quiet) },
		"not a sandbox, all marks": func(p *corev1.Pod) {
			makeLookLikeSandbox(p, session1.Session, marks(busy))
			p.Spec.RuntimeClassName = nil
		},
		"sandbox without sidecar": func(p *corev1.Pod) {
			p.Labels, p.Annotations, p.Spec.RuntimeClassName = map[string]string{record.Label: session1.Session}, marks(busy), &kata
		},
		"a journal on a pod": func(p *corev1.Pod) {
			makeLookLikeSandbox(p, id(), marks(quiet))
			p.Annotations[record.JournalKey] = quiet.Name
		},
	} {
		p := e.fakePodSpec(strings.ReplaceAll(strings.ToLower(name), " ", "-"))
		p.Name = strings.NewReplacer(",", "", "'", "").Replace(p.Name)
		change(p)
		made, err := a.core.CoreV1().Pods(e.ns).Create(t.Context(), p, metav1.CreateOptions{})
		try("(a) pod: "+name, err)
		if err == nil && (made.Spec.RuntimeClassName == nil || len(made.Spec.Containers) == 1) {
			kept = append(kept, made)
		}
	}
	for name, s := range map[string]*corev1.Service{
		"named as a session's":                                  e.sessionService(record.ServiceName(id()), id(), marks(quiet)),
		"with another's session":                                e.sessionService("other", session1.Session, marks(busy)),
		"named as a new session's, marked as an existing one's": e.sessionService(record.ServiceName(id()), session1.Session, marks(busy)),
	} {
		_, err := a.core.CoreV1().Services(e.ns).Create(t.Context(), s, metav1.CreateOptions{})
		try("(a) Service: "+name, err)
	}
	_, err := a.core.CoreV1().Pods(e.ns).Patch(t.Context(), "bystander", types.MergePatchType,
		[]byte(`{"metadata":{"labels":{"osc-debug.dev/session":"`+session1.Session+`"},"annotations":{"osc-debug.dev/route":"busy","osc-debug.dev/route-uid":"`+string(busy.UID)+`"}}}`), metav1.PatchOptions{})
	try("(a) marks on an existing pod", err)
	kept = append(kept, bystander)

	// (b): marks on the user's own Routes, to make the guard delete pods of others.
	long := strings.Repeat("x", 20<<10)
	forged := func(change func(*record.Journal)) string {
		j := *session1
		change(&j)
		text, err := j.Encode()
		e.ok(err)
		return text
	}
	for name, m := range map[string]struct{ label, journal string }{
		"another's session, no journal":    {session1.Session, ""},
		"another's session, its journal":   {session1.Session, forged(func(*record.Journal) {})},
		"another's journal, past its end":  {session1.Session, forged(func(j *record.Journal) { j.Expires.Time = time.Unix(0, 0) })},
		"another's journal for this Route": {session1.Session, "SAME-UID"},
		"two sessions":                     {id(), forged(func(*record.Journal) {})},
		"for ever":                         {session1.Session, forged(func(j *record.Journal) { j.Expires.Time = time.Now().AddDate(1000, 0, 0) })},
		"oversized":                        {session1.Session, `{"x":"` + long + `"}`},
		"malformed":                        {session1.Session, `{{{`},
		"from the future":                  {session1.Session, forged(func(j *record.Journal) { j.Version = 99 })},
		"backends of others":               {session1.Session, forged(func(j *record.Journal) { j.Before.Backends[0].Service = "bystander" })},
		"no ID":                            {"bystander", `{"version":1,"session":"../pods/bystander","state":"live","before":{"backends":[{"service":"web"}]}}`},
	} {
		r, err := b.routes.RouteV1().Routes(e.ns).Create(t.Context(), &routev1.Route{
			ObjectMeta: metav1.ObjectMeta{Name: strings.NewReplacer(" ", "-", ",", "", "'", "").Replace(strings.ToLower(name)), Labels: map[string]string{record.Label: m.label}},
			Spec:       routev1.RouteSpec{Host: fmt.Sprintf("b%d-%s.apps.osc-debug.test", attempts, e.ns), To: alternate("web", 100), AlternateBackends: []routev1.RouteTargetReference{alternate(record.ServiceName(session1.Session), 100)}},
		}, metav1.CreateOptions{})
		if err == nil && m.journal != "" {
			text := m.journal
			if text == "SAME-UID" {
				text = forged(func(j *record.Journal) { j.RouteUID = string(r.UID); j.Expires.Time = time.Unix(0, 0) })
			}
			patch, _ := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]string{record.JournalKey: text}}})
			_, err = b.routes.RouteV1().Routes(e.ns).Patch(t.Context(), r.Name, types.MergePatchType, patch, metav1.PatchOptions{})
		}
		try("(b) Route: "+name, err)
	}
	// (c): the same names, marks and owners from another namespace.
	for name, change := range map[string]func(*corev1.Pod){
		"session of elsewhere": func(p *corev1.Pod) { makeLookLikeSandbox(p, session1.Session, marks(busy)) },
		"owner of elsewhere": func(p *corev1.Pod) {
			makeLookLikeSandbox(p, session1.Session, marks(busy))
			p.OwnerReferences = owner(busy)
		},
		"names a namespace": func(p *corev1.Pod) {
			makeLookLikeSandbox(p, session1.Session, map[string]string{record.RouteUIDKey: string(busy.UID), record.RouteNameKey: e.ns + "/busy"})
		},
	} {
		p := elsewhere.fakePodSpec(strings.ReplaceAll(name, " ", "-"))
		change(p)
		_, err := c.core.CoreV1().Pods(elsewhere.ns).Create(t.Context(), p, metav1.CreateOptions{})
		try("(c) pod: "+name, err)
	}
	_, err = c.routes.RouteV1().Routes(elsewhere.ns).Create(t.Context(), &routev1.Route{
		ObjectMeta: metav1.ObjectMeta{Name: "busy", Labels: map[string]string{record.Label: session1.Session}, Annotations: map[string]string{record.JournalKey: forged(func(j *record.Journal) { j.Expires.Time = time.Unix(0, 0) })}},
		Spec:       routev1.RouteSpec{Host: "c-" + e.ns + ".apps.osc-debug.test", To: alternate("web", 100)},
	}, metav1.CreateOptions{})
	try("(c) Route of the same name, with the journal past its end", err)

	// The last attempt creates a real orphan. When the guard has deleted it, the guard has also had
	// enough time to act on all earlier attempts.
	orphan := metav1.DeletePropagationOrphan
	e.createRouteNamed("orphaned")
	e.plant("orphaned", record.Live, time.Hour)
	try("(b) deletes a Route and orphans its sandbox", b.routes.RouteV1().Routes(e.ns).Delete(t.Context(), "orphaned", metav1.DeleteOptions{PropagationPolicy: &orphan}))

	summarize(t, "%d attempts, %d rejected by the API server", attempts, refused)
	if attempts-refused < 20 {
		t.Errorf("the API server accepted only %d attempts, wanted at least 20", attempts-refused)
	}
	e.eventually("the orphaned sandbox is gone", func() bool { return len(e.podsMarked(record.RouteNameKey+"=orphaned")) == 0 })

	if now := e.getRoute("quiet"); now.ResourceVersion != quiet.ResourceVersion {
		t.Errorf("route quiet was changed: %s", sessionFields(now))
	}
	if now := e.getRoute("busy"); now.ResourceVersion != busy.ResourceVersion {
		t.Errorf("route busy was changed: %s", sessionFields(now))
	}
	noSandbox := append(kept, e.podsMarked("app=web")...)
	untouched := func(when string) {
		t.Helper()
		for _, p := range noSandbox {
			now, err := core.CoreV1().Pods(e.ns).Get(t.Context(), p.Name, metav1.GetOptions{})
			if err != nil || now.UID != p.UID || now.DeletionTimestamp != nil {
				t.Errorf("%s: pod %s, which is not a sandbox, was deleted: %v", when, p.Name, err)
			}
		}
	}
	untouched("during the session")
	sandbox := record.PodName(session1.Session, 0)
	if _, err := core.CoreV1().Pods(e.ns).Get(t.Context(), sandbox, metav1.GetOptions{}); err != nil {
		t.Errorf("the sandbox of the running session: %v", err)
	}
	// The guard still watches the session whose marks were forged.
	e.setReady(sandbox, false)
	e.eventually("the session on route busy is held", func() bool {
		s := record.Of(e.getRoute("busy"))
		return s != nil && s.State == record.Held
	})
	e.expireSession("busy")
	// When the session ends, the guard deletes its sandbox but no pod that only has its marks.
	e.eventually("the session has ended", func() bool {
		_, err := core.CoreV1().Pods(e.ns).Get(t.Context(), sandbox, metav1.GetOptions{})
		return apierrors.IsNotFound(err) && record.Of(e.getRoute("busy")) == nil
	})
	untouched("after the session's end")
}

// makeLookLikeSandbox gives a pod the marks, the RuntimeClass and the sidecar of a session's sandbox.
func makeLookLikeSandbox(p *corev1.Pod, id string, marks map[string]string) {
	kata := "kata"
	p.Labels, p.Annotations, p.Spec.RuntimeClassName = map[string]string{record.Label: id}, marks, &kata
	p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "osc-debug", Image: fakeImage})
}

// fakePodSpec returns a pod for fakeNode without named ports, so that no Service sends users to it.
func (e *env) fakePodSpec(name string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: fakeImage}}}}
	onFakeNode(&p.Spec)
	return p
}

func (e *env) createPod(name string, labels, annotations map[string]string) *corev1.Pod {
	e.t.Helper()
	p := e.fakePodSpec(name)
	p.Labels, p.Annotations = labels, annotations
	made, err := core.CoreV1().Pods(e.ns).Create(e.t.Context(), p, metav1.CreateOptions{})
	e.ok(err)
	return made
}

func (e *env) sessionService(name, id string, marks map[string]string) *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{record.Label: id}, Annotations: marks}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}}
}

// podsMarked lists the pods with a label or an annotation, given as KEY=VALUE.
func (e *env) podsMarked(having string) (out []*corev1.Pod) {
	e.t.Helper()
	key, value, _ := strings.Cut(having, "=")
	list, err := core.CoreV1().Pods(e.ns).List(e.t.Context(), metav1.ListOptions{})
	e.ok(err)
	for i := range list.Items {
		if p := &list.Items[i]; p.Labels[key] == value || p.Annotations[key] == value {
			out = append(out, p)
		}
	}
	return out
}
