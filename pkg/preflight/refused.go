package preflight

import (
	"errors"
	"regexp"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osc-debug/osc-debug/pkg/reason"
)

// policyCodes are what the sandbox policy refuses of a clone; its messages begin with these
// (manifests/policy/policy.yaml). Its other messages have codes too, of what no command makes.
var policyCodes = []reason.Code{
	reason.SandboxNotInVM,
	reason.HostNamespaceNotAllowed,
	reason.HostPortNotAllowed,
	reason.VolumeKindNotAllowed,
	reason.RawDeviceNotAllowed,
	reason.NodeDeviceNotAllowed,
	reason.RuntimeAnnotationNotAllowed,
	reason.SELinuxNotAllowed,
	reason.ImageNotAllowed,
}

// denial finds the code in what the API server says of a denial by a ValidatingAdmissionPolicy
// (k8s.io/apiserver, pkg/admission/plugin/policy/validating).
var denial = regexp.MustCompile(`denied request: ([A-Z][A-Za-z]+): `)

// Refused says what the API server's refusal of an object means for who meets it, nil where it
// refused nothing.
func Refused(object string, err error) error {
	if err == nil || reason.Of(err) != nil {
		return err // a judgement of our own, as when somebody was faster, is none of the API server's
	}
	if aboutRights(err) {
		return reason.Forbidden(refusal(err.Error()), "object", object, "why", err)
	}
	return reason.New(refusal(err.Error()), "object", object, "why", err)
}

// refusal picks the code of what the API server says.
func refusal(text string) reason.Code {
	if m := denial.FindStringSubmatch(text); m != nil && slices.Contains(policyCodes, reason.Code(m[1])) {
		return reason.Code(m[1])
	}
	for _, f := range foreign {
		if strings.Contains(text, f.words) {
			return f.code
		}
	}
	return reason.APIServerRefuses
}

// aboutRights says whether the API server refused by who asks or by what it admits, and not by
// the object's form or the cluster's state. Admission policies and webhooks choose their reason
// themselves: Invalid, but of no field, or none at all.
func aboutRights(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return false
	}
	switch s := status.Status(); s.Reason {
	case metav1.StatusReasonInvalid:
		return s.Details == nil || !slices.ContainsFunc(s.Details.Causes, func(c metav1.StatusCause) bool { return c.Field != "" })
	case metav1.StatusReasonUnauthorized, metav1.StatusReasonBadRequest, metav1.StatusReasonNotFound, metav1.StatusReasonConflict, metav1.StatusReasonAlreadyExists,
		metav1.StatusReasonGone, metav1.StatusReasonExpired, metav1.StatusReasonTimeout, metav1.StatusReasonServerTimeout,
		metav1.StatusReasonServiceUnavailable, metav1.StatusReasonInternalError, metav1.StatusReasonTooManyRequests:
		return false
	}
	return true
}

// OfLimits says whether a quota or LimitRange of the namespace is why the API server
// refused something.
func OfLimits(err error) bool { return reason.Is(err, reason.QuotaExceeded, reason.LimitRangeExceeded) }
