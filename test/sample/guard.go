package sample

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
)

// InstallGuard applies the guard's manifests as an administrator would, enables the namespaces, and
// waits until the guard covers them. settings, given as KEY=VALUE, override those of the manifests.
func (c Cluster) InstallGuard(ctx context.Context, namespaces []string, settings ...string) error {
	data := fmt.Sprintf(`"namespaces":%q`, strings.Join(namespaces, " "))
	for _, s := range settings {
		key, value, _ := strings.Cut(s, "=")
		data += fmt.Sprintf(",%q:%q", key, value)
	}
	for _, namespace := range namespaces {
		if _, err := c.Kubectl(ctx, "create", "rolebinding", "osc-debug-guard", "-n", namespace, "--clusterrole=osc-debug-guard", "--serviceaccount=osc-debug:osc-debug-guard"); err != nil {
			return err
		}
	}
	if err := c.applyManifests(ctx, "guard"); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"patch", "configmap", "osc-debug", "-n", "osc-debug", "--type=merge", "-p", `{"data":{` + data + `}}`},
		{"rollout", "status", "-n", "osc-debug", "deployment/osc-debug-guard", "--timeout=90s"},
		{"wait", "-n", "osc-debug", "configmap/osc-debug-guard", "--for=jsonpath={.data.namespaces}=" + strings.Join(namespaces, " "), "--timeout=60s"},
	} {
		if _, err := c.Kubectl(ctx, args...); err != nil {
			return err
		}
	}
	return nil
}

// applyManifests runs 'osc-debug manifests PART | kubectl apply -f -'.
func (c Cluster) applyManifests(ctx context.Context, part string) error {
	printed, err := exec.CommandContext(ctx, c.CLI, "manifests", part).Output()
	if err != nil {
		return fmt.Errorf("osc-debug manifests %s: %w", part, err)
	}
	apply := c.kubectl(ctx, "apply", "--server-side", "--force-conflicts", "-f", "-")
	apply.Stdin = bytes.NewReader(printed)
	if out, err := apply.CombinedOutput(); err != nil {
		return fmt.Errorf("osc-debug manifests %s | kubectl apply -f -: %w: %s", part, err, out)
	}
	return nil
}
