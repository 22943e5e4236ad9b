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
	containers []string // injected ones; native sidecars are among the init containers
	volumes    []string
	off        map[string]string // labels and annotations by which a pod asks for none
}

// meshes are those that OpenShift users meet. The proxy of a mesh is no part of the
// program: its rules for iptables would catch the sidecar's traffic, and what it encrypts
// the tracer could not read.
var meshes = []mesh{
	{
		name:       "Istio",
		containers: []string{"istio-proxy", "istio-init", "istio-validation"},
		volumes:    []string{"istio-envoy", "istio-data", "istio-podinfo", "istio-token", "istiod-ca-cert", "istio-ca-crl", "workload-socket", "credential-socket", "workload-certs"},
		off:        map[string]string{"sidecar.istio.io/inject": "false"},
	},
	{
		name:       "Linkerd",
		containers: []string{"linkerd-proxy", "linkerd-init", "linkerd-network-validator"},
		volumes:    []string{"linkerd-proxy-init-xtables-lock", "linkerd-identity-end-entity", "linkerd-identity-token"},
		off:        map[string]string{"linkerd.io/inject": "disabled"},
	},
}

// leaveMesh takes a mesh's injected containers out of the program, and has the sandbox
// ask for none.
func (p *Program) leaveMesh() {
	for _, m := range meshes {
		if !has(p.Live.Spec, m.containers[0]) {
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
		p.Labels, p.Annotations = with(p.Labels, m.off), with(p.Annotations, m.off)
		delete(p.Annotations, "sidecar.istio.io/status")
		delete(p.Labels, "security.istio.io/tlsMode")
		delete(p.Labels, "linkerd.io/workload-ns")
		return
	}
}

func has(spec corev1.PodSpec, container string) bool {
	is := func(c corev1.Container) bool { return c.Name == container }
	return slices.ContainsFunc(spec.Containers, is) || slices.ContainsFunc(spec.InitContainers, is)
}

func with(set, more map[string]string) map[string]string {
	out := maps.Clone(set)
	if out == nil {
		out = map[string]string{}
	}
	maps.Copy(out, more)
	return out
}

// restoreProbes undoes Istio's rewrite of HTTP and TCP probes, which sends them to the
// proxy: it keeps the original ones in a variable of the proxy, under the path that they
// were given (istio.io/istio/pkg/kube/inject/app_probe.go).
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
					if was, known := probes[p.HTTPGet.Path]; known {
						p.HTTPGet, p.TCPSocket, p.GRPC = was.HTTPGet, was.TCPSocket, was.GRPC
					}
				}
			}
		}
	}
}
