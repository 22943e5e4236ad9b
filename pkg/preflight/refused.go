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

// policyCodes are the codes of the sandbox policy's rejections that a clone can meet; the policy's
// messages begin with them (manifests/policy/policy.yaml). Its other messages also have codes, but
// no command creates such pods.
var policyCodes = []reason.Code{
	reason.SandboxNotInVM,
	reason.HostNamespaceNotAllowed,
	reason.HostPortNotAllowed,
	reason.VolumeKindNotAllowed,
	reason.RawDeviceNotAllowed,
	reason.NodeDeviceNotAllowed,
	reason.AnnotationNotAllowed,
	reason.FieldNotAllowed,
	reason.SELinuxNotAllowed,
	reason.ImageNotAllowed,
}

// denialCode matches the code in the API server's message about a denial by a
// ValidatingAdmissionPolicy (k8s.io/apiserver, pkg/admission/plugin/policy/validating).
var denialCode = regexp.MustCompile(`denied request: ([A-Z][A-Za-z]+): `)

// Refused turns the API server's rejection of an object into an error with a reason. object is what
// messages call the object, such as "a sandbox pod". It returns err itself if it is nil or already has a
// reason.
func Refused(object string, err error) error {
	if err == nil || reason.Of(err) != nil {
		return err // our own error, such as another session on the Route, not the API server's
	}
	if isDenial(err) {
		return reason.Forbidden(codeOf(err.Error()), "object", object, "why", err)
	}
	return reason.New(codeOf(err.Error()), "object", object, "why", err)
}

// codeOf picks the code for a message of the API server.
func codeOf(text string) reason.Code {
	if m := denialCode.FindStringSubmatch(text); m != nil && slices.Contains(policyCodes, reason.Code(m[1])) {
		return reason.Code(m[1])
	}
	for _, m := range pluginMessages {
		if strings.Contains(text, m.text) {
			return m.code
		}
	}
	return reason.APIServerRefuses
}

// isDenial reports whether authorization or admission rejected the object, as opposed to an invalid
// object or the state of the cluster. Admission policies and webhooks choose the status reason
// themselves: Invalid without a field, or none at all.
func isDenial(err error) bool {
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

// OfLimits reports whether the API server rejected an object because of a quota or LimitRange of the
// namespace.
func OfLimits(err error) bool { return reason.Is(err, reason.QuotaExceeded, reason.LimitRangeExceeded) }
