package preflight

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/osc-debug/osc-debug/manifests"
	"github.com/osc-debug/osc-debug/pkg/reason"
)

// Each rejection by the API server gets the code of the plugin that rejected it, and is marked as
// one about permissions or not.
func TestRefusalsOfTheAPIServer(t *testing.T) {
	pods, routes := schema.GroupResource{Resource: "pods"}, schema.GroupResource{Group: "route.openshift.io", Resource: "routes"}
	forbidden := func(text string) error { return apierrors.NewForbidden(pods, "web", errors.New(text)) }
	policy := func(text string) error { // as k8s.io/apiserver, pkg/admission/plugin/policy/validating, returns it
		text = "ValidatingAdmissionPolicy 'osc-debug-sandbox' with binding 'osc-debug-sandbox' denied request: " + text
		err := apierrors.NewForbidden(pods, "web", errors.New(text))
		err.ErrStatus.Reason, err.ErrStatus.Code = metav1.StatusReasonInvalid, 422
		err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{Message: text})
		return err
	}
	invalid := func(text string) error {
		return apierrors.NewInvalid(schema.GroupKind{Kind: "Route"}, "web", field.ErrorList{field.Forbidden(field.NewPath("spec", "tls", "externalCertificate"), text)})
	}
	webhook := &apierrors.StatusError{ErrStatus: metav1.Status{Code: 400, Message: `admission webhook "x" denied the request: no`}}
	for name, c := range map[string]struct {
		err    error
		code   reason.Code
		rights bool
	}{
		"policy":             {policy("SandboxNotInVM: a sandbox must use a RuntimeClass for VMs: kata"), reason.SandboxNotInVM, true},
		"policy's image":     {policy("ImageNotAllowed: a container that is privileged or adds capabilities"), reason.ImageNotAllowed, true},
		"policy, other code": {policy("SandboxWithoutRoute: a sandbox must be owned by its Route"), reason.APIServerRefuses, true},
		"another's policy":   {policy("QuotaExceeded: ask Bob"), reason.APIServerRefuses, true},
		"no parameters":      {policy("failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction"), reason.PolicyParamsMissing, true},
		"webhook":            {webhook, reason.APIServerRefuses, true},
		"no permission":      {forbidden(`User "bob" cannot create resource "pods"`), reason.APIServerRefuses, true},
		"pod security":       {forbidden(`violates PodSecurity "restricted:latest": privileged`), reason.PodSecurityForbids, true},
		"no SCC":             {forbidden(`unable to validate against any security context constraint: [provider "osc-debug-kata": Forbidden: not usable by user or serviceaccount]`), reason.SCCNotGranted, true},
		"SCC's capability": {forbidden(`unable to validate against any security context constraint: [spec.containers[0].securityContext.capabilities.add: Invalid value: "NET_RAW": capability may not be added]`),
			reason.SCCForbidsCapability, true},
		"runtime class": {forbidden(`pod rejected: RuntimeClass "gvisor" not found`), reason.RuntimeClassNotFound, true},
		"limit range":   {forbidden("maximum cpu usage per Container is 100m, but limit is 1"), reason.LimitRangeExceeded, true},
		"ratio":         {forbidden("cpu max limit to request ratio per Container is 2, but provided ratio is 20.000000"), reason.LimitRangeExceeded, true},
		"quota":         {forbidden("exceeded quota: pods, requested: pods=1, used: pods=1, limited: pods=1"), reason.QuotaExceeded, true},
		"quota: unset":  {forbidden("failed quota: sandboxes: must specify limits.cpu for: app"), reason.QuotaWantsResources, true},
		"custom host":   {invalid("user does not have update permission on custom-host"), reason.CustomHostForbidden, false},
		"invalid field": {invalid("no"), reason.APIServerRefuses, false},
		"conflict":      {apierrors.NewConflict(routes, "web", errors.New("modified")), reason.APIServerRefuses, false},
		"not there":     {apierrors.NewNotFound(pods, "web"), reason.APIServerRefuses, false},
		"internal":      {apierrors.NewInternalError(errors.New("failed calling webhook")), reason.APIServerRefuses, false},
		"no answer":     {errors.New("connection refused"), reason.APIServerRefuses, false},
		"our own":       {reason.New(reason.NoTraffic), reason.NoTraffic, false},
	} {
		err := Refused("the sandbox's pod", fmt.Errorf("write: %w", c.err))
		got := reason.Of(err)
		if got.Code != c.code || got.Rights != c.rights || !errors.Is(err, c.err) {
			t.Errorf("%s: %s, rights %t: %v", name, got.Code, got.Rights, err)
		}
		if limits := OfLimits(err); limits != slices.Contains([]string{"limit range", "ratio", "quota"}, name) {
			t.Errorf("%s: of limits %t", name, limits)
		}
	}
	if err := Refused("a pod", nil); err != nil {
		t.Errorf("no error to convert: %v", err)
	}
}

// Every message of the sandbox policy begins with a code, and the policy has every code in
// policyCodes.
func TestThePolicysMessagesHaveCodes(t *testing.T) {
	text, err := manifests.Files.ReadFile("policy/policy.yaml")
	if err != nil {
		t.Fatal(err)
	}
	messages := regexp.MustCompile(`\n +message(Expression)?: (>-\n +)?['"]?([^ ]+)`).FindAllStringSubmatch(string(text), -1)
	var codes []reason.Code
	for _, m := range messages {
		code := regexp.MustCompile(`^([A-Z][A-Za-z]+):$`).FindStringSubmatch(m[3])
		if code == nil {
			t.Errorf("a message without a code begins with %s", m[3])
			continue
		}
		codes = append(codes, reason.Code(code[1]))
	}
	for _, code := range policyCodes {
		if !slices.Contains(codes, code) {
			t.Errorf("no message has the code %s", code)
		}
	}
	if len(codes) < 15 {
		t.Errorf("only %d messages", len(codes))
	}
}
