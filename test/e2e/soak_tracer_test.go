//go:build e2e && soak

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	routev1 "github.com/openshift/api/route/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/osc-debug/osc-debug/pkg/session/record"
)

// A program that opens a file, resolves a name and connects before anything else is recorded entirely, in each of 50
// starts in the VM.
func TestSoakFromBirth(t *testing.T) {
	const sessions = 50 // of one pod each: two at once can take longer than 10 s to attach in an emulated VM
	e := newGuardedEnv(t)
	e.reserveVM()
	e.deployment("web", 1, func(d *appsv1.Deployment, s *corev1.Service) {
		onRealNode(d, s)
		spec := &d.Spec.Template.Spec
		spec.HostAliases = []corev1.HostAlias{{IP: "127.0.0.1", Hostnames: []string{"birth"}}}
		spec.Containers[0].Args = append(spec.Containers[0].Args, "-register", "birth:9") // nobody listens there
	})
	e.route(nil)
	before := e.snapshot()
	starts := 0
	for range sessions {
		e.detachedShift(append([]string{"--weight", "0", "--trace", "exec,open,tcp"}, inSlowVM...)...)
		summary, events := e.collect()
		for name, p := range summary.Pods {
			starts++
			if p.Recording.Late || p.Recording.Failed != "" || p.Gone+p.Damaged > 0 {
				t.Fatalf("start %d: %s: %+v", starts, name, p)
			}
		}
		deeds := firstDeeds(e, events)
		for pod := range summary.Pods {
			if want := [4]int{1, 1, 1, 1}; deeds[pod] != want {
				t.Errorf("%s: started, opened for its runtime, opened to resolve, connected: %v, want %v", pod, deeds[pod], want)
			}
		}
		if r := e.cli("rollback", "--route", "shop"); r.code != 0 {
			t.Fatal(r)
		}
		e.waitForEnd(before)
	}
	e.judge("starts of a program that are recorded entirely", starts == sessions && !t.Failed(), fmt.Sprint(starts), fmt.Sprint(sessions))
}

// firstDeeds counts, by pod, what the example's program does before it serves: its start, an open by Go's runtime before
// main, the file in which it looks the name up, and the connection, which is refused.
func firstDeeds(e *env, events []byte) map[string][4]int {
	e.t.Helper()
	out := map[string][4]int{}
	for line := range bytes.Lines(events) {
		var event struct {
			Pod, Comm string
			Exec      *struct{ File string }
			Open      *struct{ Path string }
			TCP       *struct{ Op, Remote, Error string }
		}
		e.ok(json.Unmarshal(line, &event))
		seen := out[event.Pod]
		switch {
		case event.Exec != nil && event.Exec.File == "/http-echo":
			seen[0]++
		case event.Open != nil && event.Comm == "http-echo" && event.Open.Path == "/sys/kernel/mm/transparent_hugepage/hpage_pmd_size":
			seen[1]++
		case event.Open != nil && event.Comm == "http-echo" && event.Open.Path == "/etc/hosts":
			seen[2]++
		case event.TCP != nil && event.TCP.Op == "connect" && event.TCP.Remote == "127.0.0.1:9" && event.TCP.Error == "ECONNREFUSED":
			seen[3]++
		}
		out[event.Pod] = seen
	}
	return out
}

// The recorder survives a tool that takes all of the sidecar's memory, and a copy that does not fit into its
// volume. When the program ends, at 100 %, the original serves again; the pod runs on, so that exec and collect work,
// until its deadline.
func TestSoakAProgramThatEnds(t *testing.T) {
	e := newGuardedEnv(t)
	e.reserveVM()
	e.deployment("web", 1, onRealNode)
	host := e.route(nil).Spec.Host
	e.eventuallyPolled("an answer of the original", func() bool { return kernel.MatchString(e.get(host)) })
	outside := kernel.FindStringSubmatch(e.get(host))[1]
	before := e.snapshot()
	id := e.detachedShift(append([]string{"--weight", "100", "--exact", "--trace", "open,exit,signal"}, inSlowVM...)...)
	pod := record.PodName(id, 0)

	e.checkMemoryBesideTheRecorder(pod)
	e.checkCopyThatDoesNotFit()

	began := time.Now()
	if r := e.cli("exec", "--", "pkill", "-TERM", "-x", "http-echo"); r.code != 0 {
		t.Fatal(r)
	}
	e.eventuallyPolled("the session is held", func() bool { return e.state() == record.Held })
	t.Logf("held %s after the program's end", time.Since(began).Round(time.Millisecond))
	fromOriginal := func() bool {
		answer := kernel.FindStringSubmatch(e.get(host))
		return answer != nil && answer[1] == outside
	}
	e.eventuallyPolled("the original answers again", fromOriginal)
	for range 20 {
		if !fromOriginal() {
			t.Error("while the session is held, another than the original answers")
		}
	}
	live, err := core.CoreV1().Pods(e.ns).Get(t.Context(), pod, metav1.GetOptions{})
	e.ok(err)
	if live.Status.Phase != corev1.PodRunning {
		t.Errorf("the pod is %s, want Running", live.Status.Phase)
	}
	for _, s := range live.Status.ContainerStatuses {
		if s.RestartCount > 0 || (s.Name == record.Sidecar) != (s.State.Running != nil) {
			t.Errorf("container %s: %+v", s.Name, s)
		}
	}
	if r := e.cli("exec", "--", "true"); r.code != 0 {
		t.Errorf("exec after the program's end: %s", r)
	}
	e.checkEndWasRecorded()

	// A deadline can be lowered, and counts from the pod's start.
	deadline := int64(time.Since(live.Status.StartTime.Time).Seconds()) + 5
	_, err = core.CoreV1().Pods(e.ns).Patch(t.Context(), pod, types.MergePatchType, fmt.Appendf(nil, `{"spec":{"activeDeadlineSeconds":%d}}`, deadline), metav1.PatchOptions{})
	e.ok(err)
	e.eventuallyPolled("the deadline has ended the pod", func() bool {
		p, err := core.CoreV1().Pods(e.ns).Get(t.Context(), pod, metav1.GetOptions{})
		return apierrors.IsNotFound(err) || err == nil && p.Status.Phase == corev1.PodFailed && p.Status.Reason == "DeadlineExceeded"
	})
	ended := time.Now()
	if r := e.cli("rollback", "--route", "shop"); r.code != 0 {
		t.Error(r)
	}
	e.waitForEnd(before)
	grace := time.Duration(*live.Spec.TerminationGracePeriodSeconds) * time.Second
	e.judge("deletion of the pod after its deadline", time.Since(ended) <= grace+30*time.Second, time.Since(ended).Round(time.Second).String(), "<= grace + 30 s")
}

// A tool that writes more than the scratch volume may hold has its pod evicted: what only the user can bound. The guard then
// holds the session, and users are back at the original.
func TestSoakAVolumeThatOverflows(t *testing.T) {
	e := newGuardedEnv(t)
	e.reserveVM()
	e.deployment("web", 1, onRealNode)
	host := e.route(nil).Spec.Host
	e.eventuallyPolled("an answer of the original", func() bool { return kernel.MatchString(e.get(host)) })
	outside := kernel.FindStringSubmatch(e.get(host))[1]
	before := e.snapshot()
	id := e.detachedShift(append([]string{"--weight", "100", "--exact", "--trace", "open"}, inSlowVM...)...)
	if r := e.cli("exec", "--", "dd", "if=/dev/zero", "of=/out/large", "bs=1M", "count=1100"); r.code != 0 {
		t.Errorf("dd: %s", r)
	}
	e.eventuallyPolled("the pod is evicted", func() bool {
		p, err := core.CoreV1().Pods(e.ns).Get(t.Context(), record.PodName(id, 0), metav1.GetOptions{})
		return err == nil && p.Status.Phase == corev1.PodFailed && p.Status.Reason == "Evicted"
	})
	e.eventuallyPolled("the session is held", func() bool { return e.state() == record.Held })
	e.eventuallyPolled("the original answers again", func() bool {
		answer := kernel.FindStringSubmatch(e.get(host))
		return answer != nil && answer[1] == outside
	})
	if r := e.cli("rollback", "--route", "shop"); r.code != 0 {
		t.Error(r)
	}
	e.waitForEnd(before)
}

// checkMemoryBesideTheRecorder runs a tool that needs more memory than the sidecar has. The kernel kills it, but not the
// recorder.
func (e *env) checkMemoryBesideTheRecorder(pod string) {
	e.t.Helper()
	if r := e.cli("exec", "--", "tail", "/dev/zero"); r.code != 137 {
		e.t.Errorf("a tool without end must be killed (137): %s", r)
	}
	if summary, _ := e.collect(); summary.Pods[pod].Recording.Failed != "" || summary.Pods[pod].Recording.Ended {
		e.t.Errorf("after a tool took all memory: %+v", summary.Pods[pod].Recording)
	}
	live, err := core.CoreV1().Pods(e.ns).Get(e.t.Context(), pod, metav1.GetOptions{})
	e.ok(err)
	for _, s := range live.Status.ContainerStatuses {
		if s.State.Running == nil || s.RestartCount > 0 {
			e.t.Errorf("container %s: %+v", s.Name, s)
		}
	}
	if s := e.state(); s != record.Live {
		e.t.Errorf("after a tool took all memory, the session is %s", s)
	}
}

// checkCopyThatDoesNotFit copies a file into the sandbox that is larger than the room beside the recording.
func (e *env) checkCopyThatDoesNotFit() {
	e.t.Helper()
	large := filepath.Join(e.t.TempDir(), "large")
	e.ok(os.WriteFile(large, nil, 0o600))
	e.ok(os.Truncate(large, 900<<20))
	if r := e.cli("cp", large, ":/scratch/large"); r.code == 0 || !strings.Contains(r.errOut, "has room for") {
		e.t.Errorf("a copy that does not fit: %s", r)
	}
	if r := e.cli("exec", "--", "ls", "-A", "/scratch"); strings.Contains(r.out, "large") || strings.Contains(r.out, ".osc-debug-") {
		e.t.Errorf("the copy left something: %s", r)
	}
	small := filepath.Join(e.t.TempDir(), "small")
	e.ok(os.WriteFile(small, []byte("it fits"), 0o600))
	if r := e.cli("cp", small, ":/out/small"); r.code != 0 {
		e.t.Errorf("a copy that fits: %s", r)
	}
	if r := e.cli("exec", "--", "cat", "/scratch/small"); r.out != "it fits" {
		e.t.Errorf("the copy that fits: %s", r)
	}
}

// checkEndWasRecorded checks that the recording has the end of the program.
func (e *env) checkEndWasRecorded() {
	e.t.Helper()
	e.eventuallyPolled("the program's end is in the recording", func() bool {
		_, events := e.collect()
		for line := range bytes.Lines(events) {
			var event struct {
				Comm string
				Exit *struct{ Signal string }
			}
			e.ok(json.Unmarshal(line, &event))
			if event.Comm == "http-echo" && event.Exit != nil && event.Exit.Signal == "SIGTERM" {
				return true
			}
		}
		return false
	})
}

// The lines of the article that osc-debug follows run as printed in the full image.
func TestSoakTheFullImage(t *testing.T) {
	e := newGuardedEnv(t)
	e.reserveVM()
	image := e.pushFullImage()
	e.deployment("web", 1, onRealNode)
	r := e.route(func(*routev1.Route) {})
	before := e.snapshot()
	e.detachedShift(append([]string{"--weight", "100", "--exact", "--sidecar-image", image}, inSlowVM...)...)
	run := func(args ...string) string {
		t.Helper()
		r := e.cli(append([]string{"exec", "--"}, args...)...)
		if r.code != 0 {
			t.Errorf("%v: %s", args, r)
		}
		return r.out
	}
	if kinds := strings.Fields(run("stat", "-f", "-c", "%T", "/sys/kernel/debug", "/sys/kernel/tracing", "/sys/fs/bpf")); strings.Join(kinds, " ") != "debugfs tracefs bpf_fs" {
		t.Errorf("mounted are %v", kinds)
	}
	if calls := strings.Count(run("bpftrace", "-l", "tracepoint:syscalls:sys_enter_*"), "\n"); calls < 300 {
		t.Errorf("bpftrace lists %d system calls", calls)
	}
	script := e.start("alice", "exec", "--", "timeout", "-s", "INT", "60", "bpftrace", "-e", `tracepoint:syscalls:sys_enter_openat { printf("%s %s\n", comm, str(args->filename)); }`)
	for !strings.Contains(script.out.String(), "http-echo /proc/sys/kernel/osrelease") {
		e.get(r.Spec.Host)
		select {
		case <-script.done:
			t.Fatalf("the script saw no open of the program: %s", script.wait())
		case <-time.After(200 * time.Millisecond):
		}
	}
	script.signal(syscall.SIGINT)
	script.wait()
	if out := run("sh", "-c", "perf stat -x, -a -e syscalls:sys_enter_openat -- ls / 2>&1 >/dev/null"); !strings.Contains(out, "syscalls:sys_enter_openat") {
		t.Errorf("perf stat: %s", out)
	}
	run("sh", "-c", "echo result >/out/result")
	if out := run("cat", "/scratch/result"); out != "result\n" {
		t.Errorf("/out is not the scratch volume: %q", out)
	}
	if r := e.cli("rollback", "--route", "shop"); r.code != 0 {
		t.Error(r)
	}
	e.waitForEnd(before)
}

// pushFullImage builds the full variant of the sidecar, pushes it to the cluster's registry, and returns its reference.
func (e *env) pushFullImage() string {
	e.t.Helper()
	const registry, name = "10.87.0.2:5000/osc-debug", "registry.invalid/osc-debug" // the nodes get the second from the first
	ref := filepath.Join(filepath.Dir(state), "sidecar.ref")                        // of the default sidecar
	kept, err := os.ReadFile(ref)
	e.ok(err)
	defer func() { e.ok(os.WriteFile(ref, kept, 0o644)) }()
	out, err := exec.CommandContext(e.t.Context(), "../../bin/devcluster", "images", "--full", "--push", "--registry", registry).Output()
	e.ok(err)
	for line := range strings.Lines(string(out)) {
		if image, ok := strings.CutPrefix(strings.TrimSpace(line), registry); ok && strings.HasPrefix(image, "/sidecar-full@") {
			return name + image
		}
	}
	e.t.Fatalf("no full image in: %s", out)
	return ""
}
