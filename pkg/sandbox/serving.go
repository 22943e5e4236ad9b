package sandbox

import (
	routev1 "github.com/openshift/api/route/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/osc-debug/osc-debug/pkg/session/record"
)

// servingKeys are the annotations by which OpenShift's service CA makes a serving
// certificate for a Service (openshift/service-ca-operator).
var servingKeys = []string{
	"service.beta.openshift.io/serving-cert-secret-name",
	"service.alpha.openshift.io/serving-cert-secret-name",
}

// ServingSecret is the Secret with a Service's serving certificate, "" for none.
func ServingSecret(s *corev1.Service) string {
	for _, key := range servingKeys {
		if name := s.Annotations[key]; name != "" {
			return name
		}
	}
	return ""
}

// serving says which Secret holds the original's certificate and which one the sandbox
// gets instead: a router that re-encrypts without a CA of the Route's asks each backend for
// the name of its own Service. The service CA makes the sandbox's, and it goes with the
// Service. Both are "" where the original's certificate does.
func (in Input) serving() (original, own string) {
	tls := in.Route.Spec.TLS
	if tls == nil || tls.Termination != routev1.TLSTerminationReencrypt || tls.DestinationCACertificate != "" {
		return "", ""
	}
	original = ServingSecret(in.Service)
	if original == "" {
		return "", ""
	}
	return original, record.ServiceName(in.Session) + "-tls"
}

// mountOwn has the sandbox mount its own serving certificate.
func (in Input) mountOwn(spec *corev1.PodSpec) {
	original, own := in.serving()
	if own == "" {
		return
	}
	for i := range spec.Volumes {
		v := &spec.Volumes[i]
		if v.Secret != nil && v.Secret.SecretName == original {
			v.Secret.SecretName = own
		}
		if v.Projected == nil {
			continue
		}
		for j := range v.Projected.Sources {
			if s := v.Projected.Sources[j].Secret; s != nil && s.Name == original {
				s.Name = own
			}
		}
	}
}
