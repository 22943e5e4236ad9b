package build

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
)

// KubeNames are the names of the components in the one Kubernetes program.
var KubeNames = []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl"}

// Kube builds the Kubernetes components as one program and returns its folder, which has a symlink
// for each name.
func (b *Builder) Kube(ctx context.Context) (string, error) {
	source := filepath.Join(b.Source, "kube")
	version, err := kubeVersion(source)
	if err != nil {
		return "", err
	}
	k, err := key([]string{"1"}, source)
	if err != nil {
		return "", err
	}
	return b.cached("kube", k, "Kubernetes from its module (5 to 10 min the first time)", func(dir string) error {
		for _, name := range KubeNames {
			if err := os.Symlink("kube", filepath.Join(dir, name)); err != nil {
				return err
			}
		}
		_, err := run(ctx, command{
			name: "go", args: []string{"build", "-trimpath", "-o", filepath.Join(dir, "kube"),
				"-ldflags", "-s -w -X k8s.io/component-base/version.gitVersion=" + version, "."},
			dir: source, env: []string{"CGO_ENABLED=0"},
		})
		return err
	})
}

var kubeRequirement = regexp.MustCompile(`k8s\.io/kubernetes (v\S+)`)

// kubeVersion returns the Kubernetes version that the folder's go.mod requires.
func kubeVersion(source string) (string, error) {
	mod, err := os.ReadFile(filepath.Join(source, "go.mod"))
	if err != nil {
		return "", err
	}
	found := kubeRequirement.FindSubmatch(mod)
	if found == nil {
		return "", fmt.Errorf("%s/go.mod does not require k8s.io/kubernetes", source)
	}
	return string(found[1]), nil
}

// Runtime builds containerd, its shim and client, runc and the CNI plugins, and returns their folder.
// All are static, because they run both on this machine and in the guest.
func (b *Builder) Runtime(ctx context.Context) (string, error) {
	source := filepath.Join(b.Source, "runtime")
	k, err := key(nil, source)
	if err != nil {
		return "", err
	}
	return b.cached("runtime", k, "containerd, runc and CNI plugins from their modules", func(dir string) error {
		const (
			containerd = "github.com/containerd/containerd/v2/cmd/"
			cni        = "github.com/containernetworking/plugins/plugins/"
		)
		_, err := run(ctx, command{name: "go", dir: source, env: []string{"CGO_ENABLED=0"}, args: []string{
			"build", "-trimpath", "-tags", "no_btrfs no_zfs no_devmapper", "-ldflags", "-s -w", "-o", dir + "/",
			containerd + "containerd", containerd + "containerd-shim-runc-v2", containerd + "ctr",
			cni + "main/bridge", cni + "main/loopback", cni + "ipam/host-local",
		}})
		if err != nil {
			return err
		}
		// Without seccomp, runc rejects every pod.
		_, err = run(ctx, command{name: "go", dir: source, env: []string{"CGO_ENABLED=1"}, args: []string{
			"build", "-trimpath", "-tags", "seccomp netgo osusergo", "-ldflags", "-s -w -extldflags -static", "-o", dir + "/",
			"github.com/opencontainers/runc",
		}})
		return err
	})
}

const pauseSource = `#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static void leave(int sig) { exit(0); }
static void reap(int sig) { while (waitpid(-1, 0, WNOHANG) > 0); }

int main(void) {
	signal(SIGTERM, leave);
	signal(SIGINT, leave);
	signal(SIGCHLD, reap);
	for (;;) pause();
}
`

// Pause builds the program that keeps a pod's namespaces and reaps its orphaned processes, and
// returns its folder.
func (b *Builder) Pause(ctx context.Context) (string, error) {
	k, err := key([]string{pauseSource})
	if err != nil {
		return "", err
	}
	return b.cached("pause", k, "pause", func(dir string) error {
		source := filepath.Join(dir, "pause.c")
		if err := os.WriteFile(source, []byte(pauseSource), 0o644); err != nil {
			return err
		}
		_, err := run(ctx, command{name: "gcc", args: []string{"-static", "-O2", "-o", filepath.Join(dir, "pause"), source}})
		return err
	})
}

// Program builds a static binary of a main package and returns its path. Go's build cache makes
// repeated builds cheap.
func (b *Builder) Program(ctx context.Context, dir, pkg string) (string, error) {
	out := filepath.Join(b.Cache, "programs", filepath.Base(pkg))
	_, err := run(ctx, command{
		name: "go", args: []string{"build", "-trimpath", "-ldflags", "-s -w", "-o", out, pkg},
		dir: dir, env: []string{"CGO_ENABLED=0"},
	})
	return out, err
}
