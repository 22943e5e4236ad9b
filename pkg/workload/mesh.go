package workload

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// mesh is a service mesh that injects its proxy into pods.
type mesh struct {
	name       string
	containers []string          // that it injects; native sidecars are init containers
	volumes    []string          // that it injects
	optOut     map[string]string // labels and annotations that disable injection
}

// meshes are the ones in use on OpenShift. A mesh's proxy is left out of the sandbox: its iptables
// rules would redirect the sidecar's traffic, and the tracer cannot read what it encrypts.
var meshes = []mesh{
	{
		name:       "Istio",
		containers: []string{"istio-proxy", "istio-init", "istio-validation"},
		volumes:    []string{"istio-envoy", "istio-data", "istio-podinfo", "istio-token", "istiod-ca-cert", "istio-ca-crl", "workload-socket", "credential-socket", "workload-certs"},
		optOut:     map[string]string{"sidecar.istio.io/inject": "false"},
	},
	{
		name:       "Linkerd",
		containers: []string{"linkerd-proxy", "linkerd-init", "linkerd-network-validator"},
		volumes:    []string{"linkerd-proxy-init-xtables-lock", "linkerd-identity-end-entity", "linkerd-identity-token"},
		optOut:     map[string]string{"linkerd.io/inject": "disabled"},
	},
}

// removeMesh removes what a mesh injected into the program, and disables injection into the sandbox.
// It sets Mesh, or Gateway if the mesh's proxy is the whole program.
func (p *Program) removeMesh() {
	for _, m := range meshes {
		if !hasContainer(p.Live.Spec, m.containers[0]) {
			continue
		}
		injected := func(c corev1.Container) bool { return slices.Contains(m.containers, c.Name) }
		if !slices.ContainsFunc(p.Spec.Containers, func(c corev1.Container) bool { return !injected(c) }) {
			p.Gateway = m.name
			return
		}
		p.Mesh = m.name
		restoreProbes(&p.Spec)
		p.Spec.Containers = slices.DeleteFunc(p.Spec.Containers, injected)
		p.Spec.InitContainers = slices.DeleteFunc(p.Spec.InitContainers, injected)
		dropVolumes(&p.Spec, func(v corev1.Volume) bool { return slices.Contains(m.volumes, v.Name) })
		p.Labels, p.Annotations = merged(p.Labels, m.optOut), merged(p.Annotations, m.optOut)
		delete(p.Annotations, "sidecar.istio.io/status")
		delete(p.Labels, "security.istio.io/tlsMode")
		delete(p.Labels, "linkerd.io/workload-ns")
		return
	}
}

func hasContainer(spec corev1.PodSpec, container string) bool {
	isNamed := func(c corev1.Container) bool { return c.Name == container }
	return slices.ContainsFunc(spec.Containers, isNamed) || slices.ContainsFunc(spec.InitContainers, isNamed)
}

func merged(set, more map[string]string) map[string]string {
	out := maps.Clone(set)
	if out == nil {
		out = map[string]string{}
	}
	maps.Copy(out, more)
	return out
}

// restoreProbes undoes Istio's rewrite of HTTP and TCP probes, which sends them to the proxy. Istio
// keeps the original probes in an environment variable of the proxy, by the path of the rewritten
// ones (istio.io/istio/pkg/kube/inject/app_probe.go).
func restoreProbes(spec *corev1.PodSpec) {
	for _, c := range append(slices.Clone(spec.Containers), spec.InitContainers...) {
		for _, e := range c.Env {
			var probes map[string]struct {
				HTTPGet   *corev1.HTTPGetAction   `json:"httpGet"`
				TCPSocket *corev1.TCPSocketAction `json:"tcpSocket"`
				GRPC      *corev1.GRPCAction      `json:"grpc"`
			}
			if e.Name != "ISTIO_KUBE_APP_PROBERS" || json.Unmarshal([]byte(e.Value), &probes) != nil {
				continue
			}
			for i := range spec.Containers {
				for _, p := range []*corev1.Probe{spec.Containers[i].ReadinessProbe, spec.Containers[i].StartupProbe, spec.Containers[i].LivenessProbe} {
					if p == nil || p.HTTPGet == nil || !strings.HasPrefix(p.HTTPGet.Path, "/app-health/") {
						continue
					}
					if original, ok := probes[p.HTTPGet.Path]; ok {
						p.HTTPGet, p.TCPSocket, p.GRPC = original.HTTPGet, original.TCPSocket, original.GRPC
					}
				}
			}
		}
	}
}
