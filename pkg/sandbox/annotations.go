package sandbox

import (
	"maps"
	"slices"
	"strings"

	"github.com/osc-debug/osc-debug/pkg/rights"
	"github.com/osc-debug/osc-debug/pkg/session/record"
)

// defaultContainer is the annotation with the container that kubectl and oc use if none is named. In a sandbox it is
// the traced one.
const defaultContainer = "kubectl.kubernetes.io/default-container"

// keptAnnotations are the annotations of a program's pod template that the clone keeps. They are those
// that Kubernetes, kubectl and OpenShift put into templates, and that nothing on the node reads. The
// sandbox policy (manifests/policy) admits these, and the annotations that admission and network plugins
// write on the pod later.
var keptAnnotations = []string{
	defaultContainer,
	"kubectl.kubernetes.io/default-logs-container",
	"kubectl.kubernetes.io/restartedAt",
	"openshift.io/generated-by",
	"openshift.io/deployment-config.name",
	"openshift.io/deployment-config.latest-version",
	"openshift.io/deployment.name",
	// Without these, a mesh would inject its proxy into the sandbox.
	"sidecar.istio.io/inject",
	"linkerd.io/inject",
}

// KeptAnnotations returns the annotations that a clone may keep of its program.
func KeptAnnotations() []string { return slices.Clone(keptAnnotations) }

// rewrittenAnnotations are annotations of a bare pod that are written anew for the clone, or that only
// kubectl reads. Nobody misses them.
var rewrittenAnnotations = []string{
	"kubectl.kubernetes.io/last-applied-configuration",
	"kubernetes.io/limit-ranger",
	"openshift.io/required-scc",
	"openshift.io/scc",
	"seccomp.security.alpha.kubernetes.io/pod", // that SCC admission derives from the seccomp profile
	"security.openshift.io/validated-scc-subject-type",
	"k8s.ovn.org/pod-networks",
	"k8s.v1.cni.cncf.io/network-status",
	"k8s.v1.cni.cncf.io/networks-status",
	"cni.projectcalico.org/containerID",
	"cni.projectcalico.org/podIP",
	"cni.projectcalico.org/podIPs",
	"cluster-autoscaler.kubernetes.io/safe-to-evict",
	"ambient.istio.io/redirection", // that Istio's CNI plugin writes on a live pod
}

// keepsAnnotation reports whether the clone keeps an annotation of the program: one that is known to be
// harmless, or one of a domain that the administrator allows.
func (in Input) keepsAnnotation(key string) bool {
	domain, _, hasDomain := strings.Cut(key, "/")
	return slices.Contains(keptAnnotations, key) || hasDomain && slices.Contains(in.AnnotationDomains, domain) && !slices.Contains(rewrittenAnnotations, key)
}

// LeftOffAnnotations returns the keys of the program's annotations that the clone does not get, sorted,
// but for those that are written anew for the clone.
func (in Input) LeftOffAnnotations() []string {
	var out []string
	for _, key := range slices.Sorted(maps.Keys(in.Program.Annotations)) {
		if !in.keepsAnnotation(key) && !slices.Contains(rewrittenAnnotations, key) {
			out = append(out, key)
		}
	}
	return out
}

// annotations returns the annotations of the sandbox's pods.
func (in Input) annotations() map[string]string {
	out := map[string]string{}
	for k, v := range in.Program.Annotations {
		if in.keepsAnnotation(k) {
			out[k] = v
		}
	}
	out[record.RouteUIDKey], out[record.RouteNameKey] = string(in.Route.UID), in.Route.Name
	if in.Traced != "" {
		out[defaultContainer] = in.Traced
	}
	out["openshift.io/required-scc"] = rights.SCC
	out["cluster-autoscaler.kubernetes.io/safe-to-evict"] = "true"
	return out
}
