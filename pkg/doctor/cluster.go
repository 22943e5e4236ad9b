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
	"github.com/osc-debug/osc-debug/pkg/session/record"
	"github.com/osc-debug/osc-debug/pkg/settings"
)

func (d *Doctor) apiServer(context.Context) (string, error) {
	version, err := d.Core.Discovery().ServerVersion()
	if err != nil {
		return "", reason.New(reason.APIServerUnreachable, "why", err)
	}
	if !d.serves("route.openshift.io") {
		return "", reason.New(reason.RoutesNotServed, "version", version.GitVersion)
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
		return "", err
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
			if reason.Of(err) == nil {
				err = reason.New(reason.SettingsNotRead, "configmap", settings.ConfigName, "home", home, "why", err)
			}
			return "", err
		}
	}
	return "", reason.New(reason.SettingsMissing, "home", settings.Home, "configmap", settings.ConfigName, "namespace", d.Namespace)
}

// findGuard is the cluster's guard, or the namespace's own where that one would end a
// session and the cluster's would not.
func (d *Doctor) findGuard(ctx context.Context) (*standby.Guard, error) {
	ends := func(g *standby.Guard, err error) bool {
		return err == nil && g.Ends(d.Namespace, record.JournalVersion, d.Clock.Now()) == nil
	}
	g, err := standby.Read(ctx, d.Core, settings.Home)
	if ends(g, err) {
		return g, nil
	}
	own, ownErr := standby.Read(ctx, d.Core, d.Namespace)
	if ends(own, ownErr) || err != nil && ownErr == nil {
		return own, nil
	}
	return g, err
}

func (d *Doctor) guard(ctx context.Context) (string, error) {
	g, err := d.findGuard(ctx)
	if err != nil {
		return "", reason.New(reason.NoGuardStandsBy, "home", settings.Home, "why", err)
	}
	if err := g.Stands(d.Clock.Now()); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s in namespace %s leads", g.Holder, g.Home), nil
}

func (d *Doctor) guardsRights(ctx context.Context) (string, error) {
	g, err := d.findGuard(ctx)
	if err != nil {
		return "", unknown(reason.New(reason.NoGuardToAsk))
	}
	if err := g.MayEnd(d.Namespace, record.JournalVersion); err != nil {
		return "", err
	}
	return "it may restore Routes and delete sandboxes here", nil
}

func (d *Doctor) podSecurity(ctx context.Context) (string, error) {
	ns, err := d.Core.CoreV1().Namespaces().Get(ctx, d.Namespace, metav1.GetOptions{})
	if err != nil {
		return "", unknown(reason.New(reason.PodSecurityNotRead, "namespace", d.Namespace, "why", err))
	}
	switch level := ns.Labels["pod-security.kubernetes.io/enforce"]; level {
	case "privileged":
		return "namespace " + d.Namespace + " enforces privileged: SCC and sandbox policy decide", nil
	case "":
		return "", warning(reason.New(reason.PodSecurityUnset, "namespace", d.Namespace))
	default:
		return "", reason.New(reason.PodSecurityEnforced, "namespace", d.Namespace, "level", level)
	}
}

func (d *Doctor) scc(ctx context.Context) (string, error) {
	if !d.serves("security.openshift.io") {
		return "", unknown(reason.New(reason.SCCNotServed))
	}
	review, err := d.Core.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, &authorizationv1.SelfSubjectAccessReview{
		Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{
			Namespace: d.Namespace, Group: "security.openshift.io", Resource: "securitycontextconstraints", Name: "osc-debug-kata", Verb: "use"}},
	}, metav1.CreateOptions{})
	if err != nil {
		return "", err
	}
	if !review.Status.Allowed {
		return "", reason.New(reason.SCCNotUsable, "user", d.user)
	}
	return d.user + " may use SCC osc-debug-kata", nil
}

func (d *Doctor) runtimeClasses(ctx context.Context) (string, error) {
	if allowed := d.settings.RuntimeClasses; len(allowed) > 0 && !slices.Contains(allowed, d.RuntimeClass) {
		return "", reason.New(reason.RuntimeClassNotAllowed, "class", d.RuntimeClass, "allowed", strings.Join(allowed, ", "))
	}
	_, err := d.Core.NodeV1().RuntimeClasses().Get(ctx, d.RuntimeClass, metav1.GetOptions{})
	switch {
	case err == nil:
		return "RuntimeClass " + d.RuntimeClass + " is there", nil
	case apierrors.IsNotFound(err):
		return "", reason.New(reason.NoRuntimeClass, "class", d.RuntimeClass)
	case !apierrors.IsForbidden(err):
		return "", err
	}
	// Ordinary users may not read it; the API server's judgement of a pod tells.
	_, err = d.dryRun(ctx, d.pod())
	if reason.Is(preflight.Refused("a sandbox pod", err), reason.RuntimeClassNotFound) {
		return "", reason.New(reason.NoRuntimeClass, "class", d.RuntimeClass)
	}
	if err != nil {
		return "", unknown(reason.New(reason.RuntimeClassNotRead))
	}
	return "RuntimeClass " + d.RuntimeClass + " is there", nil
}

func (d *Doctor) sidecarImage(ctx context.Context) (string, error) {
	switch {
	case d.Image == "":
		return "", reason.New(reason.SidecarImageMissing)
	case !strings.Contains(d.Image, "@sha256:"):
		return "", reason.New(reason.SidecarImageNoDigest, "image", d.Image)
	case len(d.settings.Images) > 0 && !slices.Contains(d.settings.Images, d.Image):
		return "", reason.New(reason.SidecarImageNotAllowed, "image", d.Image, "allowed", strings.Join(d.settings.Images, ", "))
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
func (d *Doctor) sccPolicy(ctx context.Context) (string, error) {
	p := d.pod()
	delete(p.Labels, record.Label)
	admitted, err := d.dryRun(ctx, p)
	if err == nil && admitted.Annotations["openshift.io/scc"] == "osc-debug-kata" {
		return "", reason.New(reason.SCCPolicyNotInForce)
	}
	return "a privileged pod that is not in a VM is refused", nil
}

// sandboxPolicy has the API server judge a pod that the policy must refuse.
func (d *Doctor) sandboxPolicy(ctx context.Context) (string, error) {
	p := d.pod()
	p.Spec.RuntimeClassName = nil
	admitted, err := d.dryRun(ctx, p)
	var status apierrors.APIStatus
	switch {
	case err == nil && admitted.Annotations["openshift.io/scc"] == "osc-debug-kata":
		return "", reason.New(reason.SCCWithoutSandboxPolicy)
	case err == nil:
		return "", warning(reason.New(reason.SandboxPolicyNotInForce))
	case reason.Is(preflight.Refused("a sandbox pod", err), reason.SandboxNotInVM):
		return d.sccPolicy(ctx)
	case errors.As(err, &status):
		return "", unknown(reason.New(reason.SandboxPolicyNotSeen, "why", err))
	}
	return "", err
}
