package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osc-debug/osc-debug/pkg/preflight"
	"github.com/osc-debug/osc-debug/pkg/session"
	"github.com/osc-debug/osc-debug/pkg/settings"
)

// applyGuard installs the cluster's guard, or updates it.
const applyGuard = "osc-debug manifests guard --image GUARD@sha256:… | oc apply -f -"

func (d *Doctor) apiServer(context.Context) (string, error) {
	version, err := d.Core.Discovery().ServerVersion()
	if err != nil {
		return "", missing("log in with 'oc login', or name a file with --kubeconfig", "no answer: %v", err)
	}
	if !d.serves("route.openshift.io") {
		return "", missing("use an OpenShift cluster: osc-debug moves the traffic of Routes", "Kubernetes %s without Routes (route.openshift.io)", version.GitVersion)
	}
	return "Kubernetes " + version.GitVersion + " with Routes", nil
}

// serves says whether the API server has a group.
func (d *Doctor) serves(group string) bool {
	groups, err := d.Core.Discovery().ServerGroups()
	return err == nil && slices.ContainsFunc(groups.Groups, func(g metav1.APIGroup) bool { return g.Name == group })
}

func (d *Doctor) permissions(ctx context.Context) (string, error) {
	if review, err := d.Core.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{}); err == nil {
		d.user = review.Status.UserInfo.Username
	}
	review, err := d.Core.AuthorizationV1().SelfSubjectRulesReviews().Create(ctx, &authorizationv1.SelfSubjectRulesReview{
		Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: d.Namespace},
	}, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("your rights can't be asked for: %w", err)
	}
	if err := preflight.Permissions(d.Namespace, d.user, &review.Status); err != nil {
		return "", missing(preflight.MendPermissions, "%v", err)
	}
	return fmt.Sprintf("%s may hold sessions in namespace %s", d.user, d.Namespace), nil
}

func (d *Doctor) readSettings(ctx context.Context) (string, error) {
	d.settings = settings.Defaults()
	for _, home := range []string{settings.Home, d.Namespace} {
		s, err := settings.Read(ctx, d.Core, home)
		switch {
		case err == nil:
			d.settings = s
			return fmt.Sprintf("ConfigMap %s/%s: sessions up to %s, router reloads every %s", home, settings.ConfigName, s.MaxDuration, s.ReloadInterval), nil
		case !apierrors.IsNotFound(err) && !apierrors.IsForbidden(err):
			return "", missing("oc edit configmap osc-debug -n "+home, "%v", err)
		}
	}
	return "", missing("have a cluster administrator apply it: "+applyGuard,
		"neither ConfigMap %s/%s nor one in namespace %s: defaults hold, and the sandbox policy has no parameters", settings.Home, settings.ConfigName, d.Namespace)
}

// findGuard is the cluster's guard, or the namespace's own where that one would end a
// session and the cluster's would not.
func (d *Doctor) findGuard(ctx context.Context) (*settings.Guard, error) {
	ends := func(g *settings.Guard, err error) bool {
		return err == nil && g.Ends(d.Namespace, session.JournalVersion, d.Clock.Now()) == nil
	}
	g, err := settings.ReadGuard(ctx, d.Core, settings.Home)
	if ends(g, err) {
		return g, nil
	}
	own, ownErr := settings.ReadGuard(ctx, d.Core, d.Namespace)
	if ends(own, ownErr) || err != nil && ownErr == nil {
		return own, nil
	}
	return g, err
}

func (d *Doctor) guard(ctx context.Context) (string, error) {
	mend := "have a cluster administrator apply it: " + applyGuard + "; or, for this namespace alone: osc-debug manifests guard-team -n NAMESPACE --image GUARD@sha256:… | oc apply -f -; if it is applied: oc get pods -n " + settings.Home
	g, err := d.findGuard(ctx)
	if err != nil {
		return "", missing(mend, "none stands by: %v", err)
	}
	if age := d.Clock.Now().Sub(g.Renewed); age > g.Lease {
		return "", missing("oc get pods -n "+g.Home+" -l app.kubernetes.io/name=osc-debug-guard", "%s in namespace %s renewed its Lease %s ago", g.Holder, g.Home, age.Round(1e9))
	}
	return fmt.Sprintf("%s in namespace %s leads", g.Holder, g.Home), nil
}

func (d *Doctor) guardsRights(ctx context.Context) (string, error) {
	g, err := d.findGuard(ctx)
	if err != nil {
		return "", unknown("", "no guard to ask")
	}
	if !g.Covers(d.Namespace) {
		return "", missing(fmt.Sprintf("add NAMESPACE to namespaces of ConfigMap %s/%s, and: oc create rolebinding osc-debug-guard -n NAMESPACE --clusterrole=osc-debug-guard --serviceaccount=%s:osc-debug-guard", g.Home, settings.ConfigName, g.Home),
			"the guard in namespace %s may not end sessions in namespace %s", g.Home, d.Namespace)
	}
	if g.Journal < session.JournalVersion {
		return "", missing("have it updated: "+applyGuard, "the guard reads journals up to version %d, this command writes %d", g.Journal, session.JournalVersion)
	}
	return "it may restore Routes and delete sandboxes here", nil
}

func (d *Doctor) podSecurity(ctx context.Context) (string, error) {
	ns, err := d.Core.CoreV1().Namespaces().Get(ctx, d.Namespace, metav1.GetOptions{})
	if err != nil {
		return "", unknown("", "namespace %s can't be read (%v): 'sandbox pod' below tells", d.Namespace, err)
	}
	switch level := ns.Labels["pod-security.kubernetes.io/enforce"]; level {
	case "privileged":
		return "namespace " + d.Namespace + " enforces privileged: SCC and sandbox policy decide", nil
	case "":
		return "", &trouble{Warning, "namespace " + d.Namespace + " has no label pod-security.kubernetes.io/enforce: newer OpenShift enforces restricted then", preflight.MendPodSecurity}
	default:
		return "", missing(preflight.MendPodSecurity, "namespace %s enforces pod security %q, under which no sidecar may be privileged", d.Namespace, level)
	}
}

func (d *Doctor) scc(ctx context.Context) (string, error) {
	if !d.serves("security.openshift.io") {
		return "", unknown("", "this cluster has no SecurityContextConstraints: only admission policies decide about pods")
	}
	review, err := d.Core.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, &authorizationv1.SelfSubjectAccessReview{
		Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{
			Namespace: d.Namespace, Group: "security.openshift.io", Resource: "securitycontextconstraints", Name: "osc-debug-kata", Verb: "use"}},
	}, metav1.CreateOptions{})
	if err != nil {
		return "", err
	}
	if !review.Status.Allowed {
		return "", missing(preflight.MendSCC, "%s may not use SCC osc-debug-kata", d.user)
	}
	return d.user + " may use SCC osc-debug-kata", nil
}

func (d *Doctor) runtimeClasses(ctx context.Context) (string, error) {
	if allowed := d.settings.RuntimeClasses; len(allowed) > 0 && !slices.Contains(allowed, d.RuntimeClass) {
		return "", missing("name one with --runtime-class", "%s is not among those that the administrator allows: %s", d.RuntimeClass, strings.Join(allowed, ", "))
	}
	_, err := d.Core.NodeV1().RuntimeClasses().Get(ctx, d.RuntimeClass, metav1.GetOptions{})
	switch {
	case err == nil:
		return "RuntimeClass " + d.RuntimeClass + " is there", nil
	case apierrors.IsNotFound(err):
		return "", noRuntimeClass(d.RuntimeClass)
	case !apierrors.IsForbidden(err):
		return "", err
	}
	// Ordinary users may not read it; the API server's judgement of a pod tells.
	_, err = d.dryRun(ctx, d.pod())
	if err != nil && strings.Contains(err.Error(), fmt.Sprintf("RuntimeClass %q not found", d.RuntimeClass)) {
		return "", noRuntimeClass(d.RuntimeClass)
	}
	if err != nil {
		return "", unknown("", "you may not read RuntimeClasses: 'sandbox pod' below tells")
	}
	return "RuntimeClass " + d.RuntimeClass + " is there", nil
}

func noRuntimeClass(name string) error {
	return missing("have a cluster administrator install OpenShift sandboxed containers and create a KataConfig, or name another with --runtime-class", "the cluster has no RuntimeClass %s", name)
}

func (d *Doctor) sidecarImage(ctx context.Context) (string, error) {
	switch {
	case d.Image == "":
		return "", missing("name one with --sidecar-image", "this build of the command has no default image")
	case !strings.Contains(d.Image, "@sha256:"):
		return "", missing("name it by digest with --sidecar-image: 'make images' prints it", "%s is not named by digest", d.Image)
	case len(d.settings.Images) > 0 && !slices.Contains(d.settings.Images, d.Image):
		return "", missing("oc edit configmap osc-debug -n osc-debug: add it to images, or name one of those with --sidecar-image", "%s is not among those that the administrator allows: %s", d.Image, strings.Join(d.settings.Images, ", "))
	}
	return d.Image + " is allowed; --try sees whether a node can pull it", nil
}

func (d *Doctor) sandboxPod(ctx context.Context) (string, error) {
	admitted, err := d.dryRun(ctx, d.pod())
	if err != nil {
		return "", preflight.Refused("a sandbox pod", err)
	}
	if scc := admitted.Annotations["openshift.io/scc"]; scc != "" {
		return "the API server admits one, under SCC " + scc, nil
	}
	return "the API server admits one", nil
}

// sccPolicy has the API server judge a pod that no session marks: under the sandboxes' SCC it
// must be refused, or the policy that judges sandboxes would not see it.
func (d *Doctor) sccPolicy(ctx context.Context, mend string) (string, error) {
	p := d.pod()
	delete(p.Labels, session.Label)
	admitted, err := d.dryRun(ctx, p)
	if err == nil && admitted.Annotations["openshift.io/scc"] == "osc-debug-kata" {
		return "", missing(mend, "under SCC osc-debug-kata you may make a privileged pod without a session's label, which no policy judges: policy osc-debug-scc is not in force")
	}
	return "a privileged pod that is not in a VM is refused", nil
}

// sandboxPolicy has the API server judge a pod that the policy must refuse.
func (d *Doctor) sandboxPolicy(ctx context.Context) (string, error) {
	mend := "have a cluster administrator apply it: osc-debug manifests policy | oc apply -f -"
	p := d.pod()
	p.Spec.RuntimeClassName = nil
	admitted, err := d.dryRun(ctx, p)
	var status apierrors.APIStatus
	switch {
	case err == nil && admitted.Annotations["openshift.io/scc"] == "osc-debug-kata":
		return "", missing(mend, "under SCC osc-debug-kata you may make a privileged pod that is not in a VM: you are root on nodes until the policy is in force")
	case err == nil:
		return "", &trouble{Warning, "a privileged pod that is not in a VM would be admitted: the policy is not in force", mend}
	case strings.Contains(err.Error(), "a sandbox runs under a runtime class for VMs"):
		return d.sccPolicy(ctx, mend)
	case errors.As(err, &status):
		return "", unknown(mend, "a pod that is not in a VM is refused, but not by the policy: %v", err)
	}
	return "", err
}
