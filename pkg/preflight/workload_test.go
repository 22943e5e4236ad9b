package preflight_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/osc-debug/osc-debug/pkg/preflight"
	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/workload"
)

// What a VM cannot have is refused, each with its own code.
func TestWhatASandboxCannotHave(t *testing.T) {
	container := func(c corev1.Container) corev1.PodSpec {
		c.Name = "web"
		return corev1.PodSpec{Containers: []corev1.Container{c}}
	}
	volume := func(v corev1.VolumeSource) corev1.PodSpec {
		return corev1.PodSpec{Volumes: []corev1.Volume{{Name: "data", VolumeSource: v}}}
	}
	for name, c := range map[string]struct {
		spec corev1.PodSpec
		want reason.Code
	}{
		"nothing special":      {container(corev1.Container{}), ""},
		"the node's network":   {corev1.PodSpec{HostNetwork: true}, reason.HostNamespaces},
		"the node's processes": {corev1.PodSpec{HostPID: true}, reason.HostNamespaces},
		"the node's IPC":       {corev1.PodSpec{HostIPC: true}, reason.HostNamespaces},
		"a device by a claim":  {corev1.PodSpec{ResourceClaims: []corev1.PodResourceClaim{{Name: "gpu"}}}, reason.ResourceClaims},
		"a raw device":         {container(corev1.Container{VolumeDevices: []corev1.VolumeDevice{{Name: "disk"}}}), reason.RawDeviceVolume},
		"a device of the node": {container(corev1.Container{Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{"nvidia.com/gpu": {}}}}), reason.ExtendedResource},
		"a folder of the node": {volume(corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/var"}}), reason.HostPathVolume},
		"an image as a volume": {volume(corev1.VolumeSource{Image: &corev1.ImageVolumeSource{}}), reason.VolumeKindUnsupported},
		"an unknown claim":     {volume(corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}}), reason.ClaimUnreadable},
	} {
		program := &workload.Program{Kind: "Deployment", Name: "web", Spec: c.spec}
		err := preflight.Unclonable(program, &workload.Namespace{}, nil)
		if got := reason.CodeOf(err); got != c.want {
			t.Errorf("%s: %q, want %q (%v)", name, got, c.want, err)
		}
		if c.spec.Volumes == nil {
			continue
		}
		if err := preflight.Unclonable(program, &workload.Namespace{}, []string{"data"}); err != nil {
			t.Errorf("%s, if the volume is empty in the sandbox: %v", name, err)
		}
	}
}
