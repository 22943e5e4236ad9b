package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/osc-debug/osc-debug/test/load"
	"github.com/osc-debug/osc-debug/test/sample"
)

// stepsRate is the load during the steps, in requests per second.
const stepsRate = 300

// stateful is the example as a StatefulSet of three pods with an autoscaler, and another Service
// that belongs to someone else.
const stateful = `apiVersion: apps/v1
kind: StatefulSet
metadata: {name: echo, namespace: sample}
spec:
  serviceName: echo
  replicas: 3
  podManagementPolicy: Parallel
  selector: {matchLabels: {app: echo, runtime: runc}}
  template:
    metadata: {labels: {app: echo, runtime: runc}}
    spec:
      containers:
      - name: echo
        image: quay.io/bpradipt/http-echo:latest
        args: ["-text", "hello"]
        ports: [{name: http, containerPort: 8080}]
        readinessProbe: {httpGet: {path: /, port: http}, periodSeconds: 2, timeoutSeconds: 5}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: echo, namespace: sample}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: StatefulSet, name: echo}
  minReplicas: 3
  maxReplicas: 6
  metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 80}}}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: other, namespace: sample}
spec:
  selector: {matchLabels: {app: other}}
  template:
    metadata: {labels: {app: other}}
    spec:
      containers:
      - name: echo
        image: quay.io/bpradipt/http-echo:latest
        args: ["-text", "hello"]
        ports: [{name: http, containerPort: 8080}]
        readinessProbe: {httpGet: {path: /, port: http}, periodSeconds: 2, timeoutSeconds: 5}
---
apiVersion: v1
kind: Service
metadata: {name: other, namespace: sample}
spec: {selector: {app: other}, ports: [{name: http, port: 8080, targetPort: http}]}
`

// steps takes a session on a StatefulSet of three pods from 5 to 25 to 100 percent under load.
// Meanwhile another user changes the weight of their alternate backend, and the autoscaler scales
// the StatefulSet up.
func (b *bench) steps() error {
	if err := b.deployExample(); err != nil {
		return err
	}
	file := filepath.Join(os.TempDir(), "osc-debug-bench-stateful.yaml")
	if err := os.WriteFile(file, []byte(stateful), 0o600); err != nil {
		return err
	}
	defer os.Remove(file)
	patch := func(kind, name, how, what string) []string {
		return []string{"patch", kind, name, "-n", sample.Namespace, "--type", how, "-p", what}
	}
	for _, args := range [][]string{
		{"delete", "deployment", "echo-runc", "-n", sample.Namespace},
		{"apply", "-f", file},
		{"rollout", "status", "-n", sample.Namespace, "statefulset/echo", "--timeout=90s"},
		{"rollout", "status", "-n", sample.Namespace, "deployment/other", "--timeout=90s"},
		patch("route", "echo-route", "merge", `{"spec":{"alternateBackends":[{"kind":"Service","name":"other","weight":50}]}}`),
	} {
		if _, err := b.Kubectl(b.ctx, args...); err != nil {
			return err
		}
	}
	time.Sleep(7 * time.Second) // until the router has reloaded
	run := load.Start(sample.Load(stepsRate + stepsRate/8))
	defer run.Stop()
	cmd, err := b.startSession("--steps", "5,25,100", "--interval", "15s", "--replicas", "2")
	if err != nil {
		return err
	}
	if _, err := b.Kubectl(b.ctx, patch("hpa", "echo", "merge", `{"spec":{"minReplicas":5}}`)...); err != nil {
		return err
	}
	if err := b.waitForPercent(25); err != nil {
		return err
	}
	// The other user's backend may have moved in the list, so the patch tests its name.
	edit := fmt.Sprintf(`[{"op":"test","path":"/spec/alternateBackends/0/name","value":"other"},{"op":"replace","path":"/spec/alternateBackends/0/weight","value":%d}]`, 77)
	if _, err := b.Kubectl(b.ctx, patch("route", "echo-route", "json", edit)...); err != nil {
		return err
	}
	if err := b.waitForPercent(100); err != nil {
		return err
	}
	if _, err := b.Kubectl(b.ctx, "rollout", "status", "-n", sample.Namespace, "statefulset/echo", "--timeout=90s"); err != nil {
		return err
	}
	realised, err := b.realised()
	if err != nil {
		return err
	}
	time.Sleep(8 * time.Second)
	code := 0
	var exit *exec.ExitError
	if err := endSession(cmd); errors.As(err, &exit) {
		code = exit.ExitCode()
	} else if err != nil {
		return err
	}
	rate := run.Rate()
	sums := run.Stop()
	route, err := b.Kubectl(b.ctx, "get", "route", "echo-route", "-n", sample.Namespace, "-o", "jsonpath={.spec.to.weight} {.spec.alternateBackends[*].name}={.spec.alternateBackends[*].weight} {.metadata.labels.osc-debug\\.dev/session}")
	if err != nil {
		return err
	}
	replicas, err := b.Kubectl(b.ctx, "get", "statefulset", "echo", "-n", sample.Namespace, "-o", "jsonpath={.status.readyReplicas}")
	if err != nil {
		return err
	}
	fmt.Printf("steps: %s, %.0f requests/s, realised share %.2f %% at 100 %%, %s pods of the original at the end\n", sums, rate, realised, replicas)
	b.judge(fmt.Sprintf("5 -> 25 -> 100 on a StatefulSet: failed of %d requests", sums.Total()), sums.Failed == 0, fmt.Sprint(sums.Failed), "0")
	b.judge("requests per second meanwhile", rate >= stepsRate, fmt.Sprintf("%.0f", rate), fmt.Sprintf(">= %d", stepsRate))
	b.judge("the other user's weight is kept, the rest is as before", strings.TrimSpace(route) == "100 other=77", strings.TrimSpace(route), "100 other=77")
	b.judge("exit code, because someone else changed the Route", code == 4, fmt.Sprint(code), "4")
	b.judge("the autoscaler scaled the original", replicas == "5", replicas, "5")
	return nil
}

// waitForPercent waits until status shows a percentage as the session's requested share.
func (b *bench) waitForPercent(percent float64) error {
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		if s, err := b.status(); err == nil && s.Asked == percent {
			return nil
		}
	}
	return fmt.Errorf("the session did not reach %g %% within 2 min", percent)
}
