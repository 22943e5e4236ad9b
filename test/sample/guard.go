package sample

import (
	"context"
	"fmt"
	"strings"
)

// InstallGuard applies the guard's manifests as an administrator would, enables the
// namespaces, and waits until a guard stands by. More settings override the manifests'.
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
	for _, args := range [][]string{
		{"apply", "-k", "manifests/guard", "--server-side", "--force-conflicts"},
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
