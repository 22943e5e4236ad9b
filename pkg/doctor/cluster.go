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

	"github.com/osc-debug/osc-debug/pkg/guard/standby"
	"github.com/osc-debug/osc-debug/pkg/preflight"
	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/rights"
	"github.com/osc-debug/osc-debug/pkg/session/record"
	"github.com/osc-debug/osc-debug/pkg/settings"
)

// checkAPIServer checks that the API server answers and serves Routes.
func (d *Doctor) checkAPIServer(context.Context) (string, error) {
	version, err := d.Core.Discovery().ServerVersion()
	if err != nil {
		return "", reason.New(reason.APIServerUnreachable, "why", err)
	}
	if !d.serves("route.openshift.io") {
		return "", reason.New(reason.RoutesNotServed, "version", version.GitVersion)
	}
	return "Kubernetes " + version.GitVersion + " with Routes", nil
}

// serves reports whether the API server serves an API group.
func (d *Doctor) serves(group string) bool {
	groups, err := d.Core.Discovery().ServerGroups()
	return err == nil && slices.ContainsFunc(groups.Groups, func(g metav1.APIGroup) bool { return g.Name == group })
}

// checkPermissions checks the user's permissions, and sets d.user.
func (d *Doctor) checkPermissions(ctx context.Context) (string, error) {
	if review, err := d.Core.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{}); err == nil {
		d.user = review.Status.UserInfo.Username
	}
	review, err := d.Core.AuthorizationV1().SelfSubjectRulesReviews().Create(ctx, &authorizationv1.SelfSubjectRulesReview{
		Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: d.Namespace},
	}, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("cannot check your permissions: %w", err)
	}
	if err := preflight.Permissions(d.Namespace, d.user, &review.Status); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s can run sessions in namespace %s", d.user, d.Namespace), nil
}

// checkSettings reads the settings, and sets d.settings.
func (d *Doctor) checkSettings(ctx context.Context) (string, error) {
	d.settings = settings.Defaults()
	for _, home := range []string{settings.Home, d.Namespace} {
		s, err := settings.Read(ctx, d.Core, d.Trust, home)
		switch {
		case err == nil:
			d.settings = s
			return fmt.Sprintf("ConfigMap %s/%s: sessions last at most %s, routers reload every %s", home, settings.ConfigName, s.MaxDuration, s.ReloadInterval), nil
		case reason.Is(err, reason.HomeNotTrusted):
			return "", err
		case !apierrors.IsNotFound(err) && !apierrors.IsForbidden(err):
			if reason.Of(err) == nil {
				err = reason.New(reason.SettingsNotRead, "configmap", settings.ConfigName, "home", home, "why", err)
			}
			return "", err
		}
	}
	return "", reason.New(reason.SettingsMissing, "home", settings.Home, "configmap", settings.ConfigName, "namespace", d.Namespace)
}

// findGuard returns the cluster's guard. It returns the namespace's own guard instead if only that one
// can end sessions here, or if the cluster has none.
func (d *Doctor) findGuard(ctx context.Context) (*standby.Guard, error) {
	canEnd := func(g *standby.Guard, err error) bool {
		return err == nil && g.CheckCanEnd(d.Namespace, record.JournalVersion, d.Clock.Now()) == nil
	}
	g, err := standby.Read(ctx, d.Core, d.Trust, settings.Home)
	if canEnd(g, err) {
		return g, nil
	}
	own, ownErr := standby.Read(ctx, d.Core, d.Trust, d.Namespace)
	if canEnd(own, ownErr) || err != nil && ownErr == nil {
		return own, nil
	}
	return g, err
}

// checkGuard checks that a guard is running.
func (d *Doctor) checkGuard(ctx context.Context) (string, error) {
	g, err := d.findGuard(ctx)
	if err != nil {
		return "", reason.New(reason.GuardMissing, "home", settings.Home, "why", err)
	}
	if err := g.CheckRunning(d.Clock.Now()); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s in namespace %s is the leader", g.Holder, g.Home), nil
}

// checkGuardRights checks that the guard can end sessions in the namespace.
func (d *Doctor) checkGuardRights(ctx context.Context) (string, error) {
	g, err := d.findGuard(ctx)
	if err != nil {
		return "", asUnknown(reason.New(reason.NoGuardToCheck))
	}
	if err := g.CheckCovers(d.Namespace, record.JournalVersion); err != nil {
		return "", err
	}
	return "it can restore Routes and delete sandboxes in namespace " + d.Namespace, nil
}

// checkPodSecurity checks that Pod Security allows privileged pods in the namespace.
func (d *Doctor) checkPodSecurity(ctx context.Context) (string, error) {
	ns, err := d.Core.CoreV1().Namespaces().Get(ctx, d.Namespace, metav1.GetOptions{})
	if err != nil {
		return "", asUnknown(reason.New(reason.PodSecurityNotRead, "namespace", d.Namespace, "why", err))
	}
	switch level := ns.Labels["pod-security.kubernetes.io/enforce"]; level {
	case "privileged":
		if ns.Labels[rights.SessionsLabel] != rights.SessionsAllowed {
			return "", asWarning(reason.New(reason.WindowsPodsAllowed, "namespace", d.Namespace))
		}
		return "namespace " + d.Namespace + " allows privileged pods; SCCs and the sandbox policy restrict them", nil
	case "":
		return "", asWarning(reason.New(reason.PodSecurityUnset, "namespace", d.Namespace))
	default:
		return "", reason.New(reason.PodSecurityEnforced, "namespace", d.Namespace, "level", level)
	}
}

// checkSCC checks that the user can use SCC osc-debug-kata.
func (d *Doctor) checkSCC(ctx context.Context) (string, error) {
	if !d.serves("security.openshift.io") {
		return "", asUnknown(reason.New(reason.SCCNotServed))
	}
	allowed, err := d.mayUseSCC(ctx, rights.SCC)
	if err != nil {
		return "", err
	}
	if !allowed {
		return "", reason.New(reason.SCCNotUsable, "user", d.user)
	}
	return d.user + " can use SCC " + rights.SCC, nil
}

// mayUseSCC reports whether the user can use an SCC in the namespace.
func (d *Doctor) mayUseSCC(ctx context.Context, name string) (bool, error) {
	review, err := d.Core.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, &authorizationv1.SelfSubjectAccessReview{
		Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{
			Namespace: d.Namespace, Group: "security.openshift.io", Resource: "securitycontextconstraints", Name: name, Verb: "use"}},
	}, metav1.CreateOptions{})
	if err != nil {
		return false, err
	}
	return review.Status.Allowed, nil
}

// checkRuntimeClass checks that the settings allow the RuntimeClass and that it exists.
func (d *Doctor) checkRuntimeClass(ctx context.Context) (string, error) {
	if allowed := d.settings.RuntimeClasses; len(allowed) > 0 && !slices.Contains(allowed, d.RuntimeClass) {
		return "", reason.New(reason.RuntimeClassNotAllowed, "class", d.RuntimeClass, "allowed", strings.Join(allowed, ", "))
	}
	_, err := d.Core.NodeV1().RuntimeClasses().Get(ctx, d.RuntimeClass, metav1.GetOptions{})
	switch {
	case err == nil:
		return "RuntimeClass " + d.RuntimeClass + " exists", nil
	case apierrors.IsNotFound(err):
		return "", reason.New(reason.NoRuntimeClass, "class", d.RuntimeClass)
	case !apierrors.IsForbidden(err):
		return "", err
	}
	// Ordinary users cannot read RuntimeClasses, but a dry run of a pod shows whether this one exists.
	_, err = d.dryRun(ctx, d.newPod())
	if reason.Is(preflight.Refused("a sandbox pod", err), reason.RuntimeClassNotFound) {
		return "", reason.New(reason.NoRuntimeClass, "class", d.RuntimeClass)
	}
	if err != nil {
		return "", asUnknown(reason.New(reason.RuntimeClassNotRead))
	}
	return "RuntimeClass " + d.RuntimeClass + " exists", nil
}

// checkSidecarImage checks that the sidecar image has a digest and that the settings allow it.
func (d *Doctor) checkSidecarImage(ctx context.Context) (string, error) {
	switch {
	case d.Image == "":
		return "", reason.New(reason.SidecarImageMissing)
	case !strings.Contains(d.Image, "@sha256:"):
		return "", reason.New(reason.SidecarImageNoDigest, "image", d.Image)
	case len(d.settings.Images) > 0 && !slices.Contains(d.settings.Images, d.Image):
		return "", reason.New(reason.SidecarImageNotAllowed, "image", d.Image, "allowed", strings.Join(d.settings.Images, ", "))
	}
	return d.Image + " is allowed", nil
}

// checkSandboxPod checks by a dry run that the API server admits a sandbox pod.
func (d *Doctor) checkSandboxPod(ctx context.Context) (string, error) {
	admitted, err := d.dryRun(ctx, d.newPod())
	if err != nil {
		return "", preflight.Refused("a sandbox pod", err)
	}
	if scc := admitted.Annotations["openshift.io/scc"]; scc != "" {
		return "the API server admits a sandbox pod, under SCC " + scc, nil
	}
	return "the API server admits a sandbox pod", nil
}

// checkSCCPolicy sends a dry run of a pod without a session label, which the sandbox policy does not
// check. If the API server admits the pod under SCC osc-debug-kata, policy osc-debug-scc is not in force.
func (d *Doctor) checkSCCPolicy(ctx context.Context) (string, error) {
	p := d.newPod()
	delete(p.Labels, record.Label)
	admitted, err := d.dryRun(ctx, p)
	if err != nil || admitted.Annotations["openshift.io/scc"] != rights.SCC {
		return "a privileged pod outside a VM is rejected", nil
	}
	privileged, err := d.mayUseSCC(ctx, "privileged")
	if err != nil {
		return "", err
	}
	if privileged {
		return "", asUnknown(reason.New(reason.SCCPolicyNotSeen, "user", d.user))
	}
	return "", reason.New(reason.SCCPolicyNotInForce)
}

// checkSandboxPolicy checks by a dry run that the sandbox policy rejects a sandbox pod without a
// RuntimeClass, and then makes checkSCCPolicy.
func (d *Doctor) checkSandboxPolicy(ctx context.Context) (string, error) {
	p := d.newPod()
	p.Spec.RuntimeClassName = nil
	admitted, err := d.dryRun(ctx, p)
	var status apierrors.APIStatus
	switch {
	case err == nil && admitted.Annotations["openshift.io/scc"] == rights.SCC:
		return "", reason.New(reason.SCCWithoutSandboxPolicy)
	case err == nil:
		return "", asWarning(reason.New(reason.SandboxPolicyNotInForce))
	case reason.Is(preflight.Refused("a sandbox pod", err), reason.SandboxNotInVM):
		return d.checkSCCPolicy(ctx)
	case errors.As(err, &status):
		return "", asUnknown(reason.New(reason.SandboxPolicyNotSeen, "why", err))
	}
	return "", err
}
