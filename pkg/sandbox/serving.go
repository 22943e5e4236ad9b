package sandbox

import (
	routev1 "github.com/openshift/api/route/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/osc-debug/osc-debug/pkg/session/record"
)

// servingAnnotations make OpenShift's service CA create a serving certificate for a Service
// (openshift/service-ca-operator). The value is the name of the certificate's Secret.
var servingAnnotations = []string{
	"service.beta.openshift.io/serving-cert-secret-name",
	"service.alpha.openshift.io/serving-cert-secret-name",
}

// ServingSecret returns the name of the Secret with a Service's serving certificate, "" for none.
func ServingSecret(s *corev1.Service) string {
	for _, key := range servingAnnotations {
		if name := s.Annotations[key]; name != "" {
			return name
		}
	}
	return ""
}

// servingSecrets returns the Secrets with the serving certificates of the original and of the sandbox.
// A router that re-encrypts without a destination CA requires from each backend a certificate for the
// name of its own Service, so the sandbox needs its own. The service CA creates it for the sandbox's
// Service and deletes it with that. Both names are "" if the original's certificate suffices.
func (in Input) servingSecrets() (original, own string) {
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

// ServingSecretName returns the name of the Secret that the service CA creates for the sandbox, "" for none.
func (in Input) ServingSecretName() string {
	_, own := in.servingSecrets()
	return own
}

// mountOwnCertificate replaces the original's serving certificate in spec with the sandbox's own.
func (in Input) mountOwnCertificate(spec *corev1.PodSpec) {
	original, own := in.servingSecrets()
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
