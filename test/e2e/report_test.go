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

// reportTime bounds reading what a report shows.
const reportTime = 20 * time.Second

// report logs what a failed test left: its commands with their output (the guards of its own
// among them), the Routes, the pods, and what the cluster's guard says of the namespace.
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
			e.t.Logf("Route %s: version %s, uid %s: %s", r.Name, r.ResourceVersion, r.UID, looks(r))
		}
	}
	if list, err := core.CoreV1().Pods(e.ns).List(ctx, metav1.ListOptions{}); err == nil {
		for i := range list.Items {
			e.t.Log(podState(&list.Items[i]))
		}
	}
	e.t.Logf("the cluster's guard on namespace %s:\n%s", e.ns, guardsLog(ctx, e.ns))
}

// podState is a pod in a line.
func podState(p *corev1.Pod) string {
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

// guardsLog are the lines of the cluster's guard that name a namespace.
func guardsLog(ctx context.Context, namespace string) string {
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

// lastLines bounds what a report shows of a text.
func lastLines(text string) string {
	const most = 120
	lines := strings.SplitAfter(text, "\n")
	if left := len(lines) - most; left > 0 {
		return fmt.Sprintf("(%d lines before)\n%s", left, strings.Join(lines[left:], ""))
	}
	return text
}
