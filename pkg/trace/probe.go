package trace

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"k8s.io/client-go/tools/remotecommand"

	"github.com/osc-debug/osc-debug/pkg/kube/exec"
	"github.com/osc-debug/osc-debug/pkg/session/record"
	"github.com/osc-debug/osc-debug/pkg/trace/frame"
)

// maxProbe is the longest answer of a probe, in bytes.
const maxProbe = 64 << 10

// Probe returns what a sandbox's kernel offers for tracing, and the seccomp mode of a container there: id is its runtime
// ID.
func Probe(ctx context.Context, e exec.Client, namespace, pod, container, id string) (out frame.Probe, err error) {
	text, err := output(ctx, e, namespace, pod, record.Sidecar, "/usr/bin/osc-tracer", "probe", "--output=json", "--container-id="+id, "--container-name="+container)
	if err != nil {
		return out, err
	}
	if err := json.Unmarshal(text, &out); err != nil {
		return out, fmt.Errorf("read the tracer's answer: %w", err)
	}
	return out, nil
}

// Seccomp returns the seccomp mode of a container's first process, as in /proc/1/status. The container must have cat.
func Seccomp(ctx context.Context, e exec.Client, namespace, pod, container string) (string, error) {
	text, err := output(ctx, e, namespace, pod, container, "cat", "/proc/1/status")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "Seccomp:"); ok {
			return strings.TrimSpace(value), nil
		}
	}
	return "", fmt.Errorf("/proc/1/status of container %s has no seccomp mode", container)
}

// output runs a command in a container and returns what it prints.
func output(ctx context.Context, e exec.Client, namespace, pod, container string, command ...string) ([]byte, error) {
	stdout, stderr := exec.Limited{Limit: maxProbe}, exec.Limited{Limit: maxStderr, Cut: true}
	err := e.Stream(ctx, namespace, pod, container, command, remotecommand.StreamOptions{Stdout: &stdout, Stderr: &stderr})
	if said := strings.TrimSpace(stderr.String()); err != nil && said != "" {
		err = fmt.Errorf("%w: %s", err, said)
	}
	return []byte(stdout.String()), err
}
