//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osc-debug/osc-debug/pkg/reason"
)

// The inputs of these tests are from public bug reports. Their numbers are those of docs/edge-cases.md, section
// "From the field".

// plan has the API server check a session on Route shop, and returns the result and the pods that it would create.
// Only the routers that args name get a request. What doctor can be asked too, it must find as the session does.
func (e *env) plan(args ...string) (result, []corev1.Pod) {
	e.t.Helper()
	doctorsArgs := slices.Clone(args)
	if !slices.Contains(args, "--router") {
		args = append(args, "--no-probe")
	}
	r := e.cli(append([]string{"shift", "--route", "shop", "--no-guard", "--weight", "50", "--dry-run", "server", "-o", "json"}, args...)...)
	var list struct{ Items []json.RawMessage }
	if r.code == 0 {
		e.ok(json.Unmarshal([]byte(r.out), &list))
	}
	var pods []corev1.Pod
	for _, item := range list.Items {
		var pod corev1.Pod
		if e.ok(json.Unmarshal(item, &pod)); pod.Kind == "Pod" {
			pods = append(pods, pod)
		}
	}
	if r.code == 0 && len(pods) == 0 {
		e.t.Fatalf("no pod is planned: %s", r)
	}
	if r.code == 0 {
		e.checkDoctorAdmits(doctorsArgs)
	}
	return r, pods
}

// checkDoctorAdmits checks that doctor finds no obstacle to a session that can be planned, if doctor has its options.
// (Where there is an obstacle, the tests call checkDoctor.)
func (e *env) checkDoctorAdmits(args []string) {
	e.t.Helper()
	if slices.ContainsFunc(args, func(a string) bool { return strings.HasPrefix(a, "--") && a != "--route" && a != "--router" }) {
		return
	}
	if !slices.Contains(args, "--route") {
		args = append([]string{"--route", "shop"}, args...)
	}
	d := diagnosis{result: e.cli(append([]string{"doctor", "-o", "json"}, args...)...)}
	e.ok(json.Unmarshal([]byte(d.out), &d))
	if f := d.finding("route: dry run"); f.Status != "ok" {
		e.t.Errorf("the session can be planned, but doctor says %+v: %s", f, d)
	}
}

// checkDoctor checks that doctor finds a problem of Route shop before a session does.
func (e *env) checkDoctor(code reason.Code, args ...string) {
	e.t.Helper()
	r := e.cli(append([]string{"doctor", "shop", "-o", "json"}, args...)...)
	if !strings.Contains(r.out, fmt.Sprintf("%q", code)) {
		e.t.Errorf("doctor does not find %s: %s", code, r)
	}
}

// ready waits until an object that e does not create by itself has ready pods.
func (e *env) ready(selector string, count int) {
	e.t.Helper()
	e.eventually("pods "+selector+" are ready", func() bool {
		list, err := core.CoreV1().Pods(e.ns).List(e.t.Context(), metav1.ListOptions{LabelSelector: selector})
		return err == nil && len(list.Items) == count && !slices.ContainsFunc(list.Items, func(p corev1.Pod) bool { return p.Status.Phase != corev1.PodRunning })
	})
}
