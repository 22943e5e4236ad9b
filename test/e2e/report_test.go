//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osc-debug/osc-debug/pkg/settings"
)

// reportTime bounds the time to read what a report shows.
const reportTime = 20 * time.Second

// report logs the state of a failed test: its commands and guards with their output, its Routes, its
// pods, and what the cluster's guard logged about the namespace.
func (e *env) report() {
	if !e.t.Failed() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), reportTime)
	defer cancel()
	e.mu.Lock()
	commands := e.commands
	e.mu.Unlock()
	for _, r := range commands {
		e.t.Logf("%v\n%s%s", r.cmd.Args, lastLines(r.out.String()), lastLines(r.progress.String()))
	}
	if list, err := routes.RouteV1().Routes(e.ns).List(ctx, metav1.ListOptions{}); err == nil {
		for i := range list.Items {
			r := &list.Items[i]
			e.t.Logf("Route %s: version %s, uid %s: %s", r.Name, r.ResourceVersion, r.UID, sessionFields(r))
		}
	}
	if list, err := core.CoreV1().Pods(e.ns).List(ctx, metav1.ListOptions{}); err == nil {
		for i := range list.Items {
			e.t.Log(describePod(&list.Items[i]))
		}
	}
	e.t.Logf("the cluster's guard on namespace %s:\n%s", e.ns, guardLog(ctx, e.ns))
}

// describePod formats a pod in one line.
func describePod(p *corev1.Pod) string {
	var states []string
	for _, s := range p.Status.ContainerStatuses {
		state, _ := json.Marshal(s.State)
		states = append(states, fmt.Sprintf("%s ready %v %s", s.Name, s.Ready, state))
	}
	for _, c := range p.Status.Conditions {
		if c.Status != corev1.ConditionTrue {
			states = append(states, fmt.Sprintf("%s %s: %s %s", c.Type, c.Status, c.Reason, c.Message))
		}
	}
	deleted := ""
	if p.DeletionTimestamp != nil {
		deleted = ", being deleted"
	}
	return fmt.Sprintf("Pod %s on %q: %s%s; labels %v; %s", p.Name, p.Spec.NodeName, p.Status.Phase, deleted, p.Labels, strings.Join(states, "; "))
}

// guardLog returns the log lines of the cluster's guard that mention a namespace.
func guardLog(ctx context.Context, namespace string) string {
	list, err := core.CoreV1().Pods(settings.Home).List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=osc-debug-guard"})
	if err != nil {
		return err.Error()
	}
	var out strings.Builder
	for _, p := range list.Items {
		log, err := core.CoreV1().Pods(settings.Home).GetLogs(p.Name, &corev1.PodLogOptions{}).DoRaw(ctx)
		if err != nil {
			fmt.Fprintln(&out, p.Name, err)
		}
		for line := range strings.Lines(string(log)) {
			if strings.Contains(line, namespace) {
				fmt.Fprint(&out, p.Name, " ", line)
			}
		}
	}
	return lastLines(out.String())
}

// lastLines returns the last 120 lines of a text, and how many it left out.
func lastLines(text string) string {
	const most = 120
	lines := strings.SplitAfter(text, "\n")
	if left := len(lines) - most; left > 0 {
		return fmt.Sprintf("(%d earlier lines)\n%s", left, strings.Join(lines[left:], ""))
	}
	return text
}
