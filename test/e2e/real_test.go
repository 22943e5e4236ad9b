//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	routev1 "github.com/openshift/api/route/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/session/record"
	"github.com/osc-debug/osc-debug/pkg/trace/frame"
	"github.com/osc-debug/osc-debug/pkg/trace/gadget"
)

// onRealNode changes a Deployment for fakeNode into one that a real kubelet runs.
func onRealNode(d *appsv1.Deployment, s *corev1.Service) {
	spec := &d.Spec.Template.Spec
	spec.NodeSelector, spec.Tolerations = nil, nil
	spec.Containers[0].Args = []string{"-text", "hello", "-listen", ":8080"}
	spec.Containers[0].Ports = []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}}
	// On a busy machine an emulated pod may answer late. That must not end a session.
	spec.Containers[0].ReadinessProbe = &corev1.Probe{
		ProbeHandler:  corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/", Port: intstr.FromString("http")}},
		PeriodSeconds: 1, TimeoutSeconds: 60,
	}
	s.Spec.Ports = s.Spec.Ports[:1]
}

var kernel = regexp.MustCompile(`kernel=(\S+)`)

// In a real session a pod in the VM answers users, the tracer reports the application's process and
// no other, exec runs commands as root in the VM, and afterwards the Route is as before.
func TestARealSession(t *testing.T) {
	t.Parallel()
	e := newGuardedEnv(t)
	e.reserveVM()
	e.deployment("web", 1, onRealNode)
	r := e.route(func(r *routev1.Route) {
		r.Spec.TLS = &routev1.TLSConfig{Termination: "edge", InsecureEdgeTerminationPolicy: "Allow"}
	})
	host := r.Spec.Host
	e.eventuallyPolled("an answer of the original", func() bool { return kernel.MatchString(e.get(host)) })
	outside := kernel.FindStringSubmatch(e.get(host))[1]
	before := e.snapshot()

	proxy, requests, log := e.countingProxy()
	run := e.start(proxy, append([]string{"shift", "--route", "shop", "--router", routerIP, "--drain", "1s", "--weight", "100", "--exact", "--trace", "open,tcp"}, inSlowVM...)...)
	if !run.reaches("live") {
		t.Fatal(run.wait())
	}
	e.eventually("both gadgets work", func() bool { return strings.Count(run.progress.String(), " works ") == 2 })
	inside := ""
	for range 20 {
		answer := kernel.FindStringSubmatch(e.get(host))
		if answer == nil || answer[1] == outside {
			t.Fatalf("at 100 percent the original or nothing answered: %v", answer)
		}
		inside = answer[1]
	}
	if release := e.cli("exec", "--", "uname", "-r"); strings.TrimSpace(release.out) != inside || release.code != 0 {
		t.Errorf("exec runs under kernel %s, the sandbox under %s", release, inside)
	}
	if r := e.cli("exec", "--", "sh", "-c", "exit 7"); r.code != 7 {
		t.Errorf("exec must exit with the command's exit code 7: %s", r)
	}
	if r := e.cli("exec", "--", "no-such-command"); r.code == 0 {
		t.Errorf("exec of a missing command must fail: %s", r)
	}
	// The sidecar's tools, used as in the documentation.
	dump := e.start("alice", "exec", "--", "timeout", "60", "tcpdump", "-n", "-i", "any", "-c", "5", "port", "8080")
	for !strings.Contains(dump.progress.String(), "listening on") {
		select {
		case <-dump.done:
			t.Fatal(dump.wait())
		case <-time.After(50 * time.Millisecond):
		}
	}
	e.get(host)
	if r := dump.wait(); r.code != 0 || !strings.Contains(r.out, ".8080") {
		t.Errorf("tcpdump: %s", r)
	}
	for _, tool := range []string{"ip addr", "ifconfig", "netstat -tln", "ncat --version", "ps -e"} {
		if r := e.cli(append([]string{"exec", "--"}, strings.Fields(tool)...)...); r.code != 0 {
			t.Errorf("%s: %s", tool, r)
		}
	}
	e.checkCapture(host)
	e.checkDoctorOfSession()
	e.checkSeclusion()
	e.checkCutTrace()
	e.checkRecording(20)
	e.checkDeadRecorder()
	run.signal(syscall.SIGINT)
	result := run.wait()
	if result.code != 0 {
		t.Fatal(result)
	}
	if n := requests.Load(); n > 45 {
		t.Errorf("a session made %d API requests, wanted at most 45:\n%s", n, log)
	} else {
		summarize(t, "a session made %d API requests, discovery excluded", n)
	}
	opens, accepts := 0, 0
	for s := bufio.NewScanner(strings.NewReader(result.out)); s.Scan(); {
		var event struct {
			Comm string
			PID  int
			Open *struct{ Path string }
			TCP  *struct{ Op, Local string }
		}
		e.ok(json.Unmarshal(s.Bytes(), &event))
		if event.Comm != "http-echo" || event.PID == 0 {
			t.Errorf("trace event of another process: %s", s.Text())
		}
		if event.Open != nil && event.Open.Path == "/proc/sys/kernel/osrelease" {
			opens++
		}
		if event.TCP != nil && event.TCP.Op == "accept" && strings.HasSuffix(event.TCP.Local, ":8080") {
			accepts++
		}
	}
	if opens < 20 || accepts < 1 {
		t.Errorf("traced %d opens and %d accepts for 20 requests", opens, accepts)
	}
	if n := strings.Count(result.errOut, "events seen = "); n != 2 || strings.Contains(result.errOut, "does not add up") {
		t.Errorf("wanted two event counts that add up: %s", result.errOut)
	}
	if after := e.snapshot(); after != before {
		t.Errorf("before %s\nafter  %s", before, after)
	}
	e.checkNothingLeft()
}

// checkDoctorOfSession checks that doctor finds all gadgets to work in the sandbox, whose program has the original's
// seccomp mode.
func (e *env) checkDoctorOfSession() {
	e.t.Helper()
	id := record.Of(e.shop()).ID
	d := diagnosis{result: e.cli("doctor", "--session", id, "-o", "json")}
	e.ok(json.Unmarshal([]byte(d.out), &d))
	pod := record.PodName(id, 0)
	for _, name := range gadget.Names() {
		if f := d.finding(pod + ": " + name); f.Status != "ok" {
			e.t.Errorf("%+v", f)
		}
	}
	if f := d.finding(pod + ": seccomp"); f.Status != "ok" && !strings.Contains(f.Detail, "cat") {
		e.t.Errorf("%+v", f)
	}
}

// checkSeclusion checks that root in the sandbox sees neither the machine's processes nor its BPF programs.
func (e *env) checkSeclusion() {
	e.t.Helper()
	ours, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "of_the_machine", Type: ebpf.SocketFilter, License: "GPL", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()}})
	e.ok(err)
	defer ours.Close()
	processes, loaded := e.cli("exec", "--", "ps", "-eo", "comm="), e.cli("exec", "--", "osc-tracer", "loaded")
	for _, name := range strings.Fields(processes.out) {
		if !slices.Contains([]string{"pause", "osc-tracer", "http-echo", "ps"}, name) {
			e.t.Errorf("the sandbox sees process %s", name)
		}
	}
	if processes.code != 0 || !strings.Contains(processes.out, "http-echo") {
		e.t.Errorf("the sandbox's processes: %s", processes)
	}
	if loaded.code != 0 || strings.Contains(loaded.out, "of_the_machine") || !strings.Contains(loaded.out, "open_enter") {
		e.t.Errorf("the BPF programs that the sandbox sees: %s", loaded)
	}
}

// loaded counts what the sandbox's kernel has of BPF programs and maps.
func (e *env) loaded() int {
	e.t.Helper()
	r := e.cli("exec", "--", "osc-tracer", "loaded")
	if r.code != 0 {
		e.t.Fatal(r)
	}
	return strings.Count(r.out, "\n")
}

// checkCutTrace kills a command that traces. Nothing of its trace is left in the sandbox.
func (e *env) checkCutTrace() {
	e.t.Helper()
	before := e.loaded()
	run := e.start("alice", "trace", "open,exec,slow", "--for", "10m")
	e.eventually("three gadgets work", func() bool { return strings.Count(run.progress.String(), " works ") == 3 })
	if during := e.loaded(); during <= before {
		e.t.Errorf("%d BPF programs and maps while a trace runs, %d before", during, before)
	}
	run.signal(syscall.SIGKILL)
	<-run.done
	e.eventuallyPolled("nothing of the trace is left", func() bool { return e.loaded() <= before })
}

// collected is what summary.json says of a session's recordings.
type collected struct {
	EventsSHA256 string
	Pods         map[string]struct {
		Events, Gone, Damaged uint64
		Recording             frame.State
	}
}

// collect fetches the recordings of the session on the only Route, and returns their summary and events.
func (e *env) collect() (summary collected, events []byte) {
	e.t.Helper()
	dir := filepath.Join(e.t.TempDir(), "recording")
	if r := e.cli("collect", dir); r.code != 0 {
		e.t.Fatalf("collect: %s", r)
	}
	text, err := os.ReadFile(filepath.Join(dir, "summary.json"))
	e.ok(err)
	e.ok(json.Unmarshal(text, &summary))
	events, err = os.ReadFile(filepath.Join(dir, "events.jsonl"))
	e.ok(err)
	if sum := sha256.Sum256(events); hex.EncodeToString(sum[:]) != summary.EventsSHA256 {
		e.t.Errorf("the checksum of events.jsonl is not %s", summary.EventsSHA256)
	}
	return summary, events
}

// checkDeadRecorder kills the recorder. The session goes on, and the recording says why it ends, and keeps its events.
func (e *env) checkDeadRecorder() {
	e.t.Helper()
	before, _ := e.collect()
	if r := e.cli("exec", "--", "pkill", "-KILL", "-f", "osc-tracer record .*--supervised"); r.code != 0 {
		e.t.Errorf("kill the recorder: %s", r)
	}
	e.eventuallyPolled("the recording says that the recorder was killed", func() bool {
		after, _ := e.collect()
		for pod, p := range after.Pods {
			if p.Events < before.Pods[pod].Events || p.Recording.Failed == "" {
				return false
			}
			if p.Recording.Failed != "the recorder ended: signal: killed" {
				e.t.Fatalf("%+v", p.Recording)
			}
		}
		return len(after.Pods) == len(before.Pods)
	})
	if s := e.state(); s != record.Live {
		e.t.Errorf("after the recorder's death, the session is %s", s)
	}
}

// checkRecording collects what the sandbox has recorded of gadgets open and tcp: it begins with the program's first
// instruction, before any command was connected, and has the requests that came later.
func (e *env) checkRecording(requests int) {
	e.t.Helper()
	summary, events := e.collect()
	for pod, p := range summary.Pods {
		if p.Events == 0 || p.Gone+p.Damaged > 0 || p.Recording.Late || p.Recording.Failed != "" || len(p.Recording.Gadgets) != 2 {
			e.t.Errorf("%s: %+v", pod, p)
		}
		for name, status := range p.Recording.Gadgets {
			if status.State == frame.Unavailable {
				e.t.Errorf("%s: gadget %s: %+v", pod, name, status)
			}
		}
	}
	first, opens := false, 0
	for line := range bytes.Lines(events) {
		var event struct {
			Comm string
			Open *struct{ Path string }
		}
		e.ok(json.Unmarshal(line, &event))
		if event.Open == nil || event.Comm != "http-echo" {
			continue // of the runtime, which starts the program
		}
		switch event.Open.Path {
		case "/sys/kernel/mm/transparent_hugepage/hpage_pmd_size": // by Go's runtime, before main
			first = true
		case "/proc/sys/kernel/osrelease":
			opens++
		}
	}
	if len(summary.Pods) != 1 || !first || opens < requests {
		e.t.Errorf("the recordings of %d pods have the first open: %t, and %d of at least %d by requests:\n%.2000s", len(summary.Pods), first, opens, requests, events)
	}
}

// If the trace's reader, such as a pager, stops reading, the Route is still restored in time and the
// command ends.
func TestAReaderWhoStopsReadingHoldsUpNothing(t *testing.T) {
	t.Parallel()
	e := newGuardedEnv(t)
	e.reserveVM()
	e.deployment("web", 1, onRealNode)
	host := e.route(nil).Spec.Host
	before := e.snapshot()
	read, write, err := os.Pipe()
	e.ok(err)
	defer read.Close()
	run := e.startWithOutput(write, append([]string{"shift", "--route", "shop", "--router", routerIP, "--drain", "1s", "--weight", "100", "--trace", "open,tcp"}, inSlowVM...)...)
	write.Close()
	if !run.reaches("live") {
		t.Fatal(run.wait())
	}
	e.eventually("both gadgets work", func() bool { return strings.Count(run.progress.String(), " works ") == 2 })
	for range 300 { // each causes four events of 200 bytes or more, in total more than a pipe holds
		e.get(host)
	}
	run.signal(syscall.SIGINT)
	if r := run.wait(); r.code != 0 || !r.reports(reason.TracerDidNotEnd) {
		t.Error(r)
	}
	if after := e.snapshot(); after != before {
		t.Errorf("before %s\nafter  %s", before, after)
	}
	e.checkNothingLeft()
}

// A container whose image cannot be pulled ends the wait for the sandbox after seconds, with the kubelet's reason.
func TestAnImageThatCannotBePulledEndsTheWait(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.reserveVM()
	e.deployment("web", 1, onRealNode)
	e.route(nil)
	before := e.snapshot()
	none := "registry.invalid/osc-debug/none@sha256:" + strings.Repeat("6", 64)
	run := e.shift(append([]string{"--weight", "100", "--set-image", "web=" + none}, inSlowVM...)...)
	r := run.wait()
	if r.code != 1 || !r.reports(reason.ContainerStuck) || !r.mentions("container web cannot start", none) {
		t.Error(r)
	}
	if after := e.snapshot(); after != before {
		t.Errorf("before %s\nafter  %s", before, after)
	}
	e.checkNothingLeft()
}

// The guest drops its packets to the router, but its kubelet still finds the pod ready. The proof
// fails, and no user is sent to the sandbox.
func TestASandboxOutOfTheRoutersReachIsNeverUsed(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.reserveVM()
	image := ""
	if data, err := os.ReadFile(filepath.Join(filepath.Dir(state), "sidecar.ref")); err == nil {
		image = strings.TrimSpace(string(data))
	}
	root := int64(0)
	e.deployment("web", 1, func(d *appsv1.Deployment, s *corev1.Service) {
		onRealNode(d, s)
		d.Spec.Template.Spec.InitContainers = []corev1.Container{{
			Name: "firewall", Image: image,
			// Only in the VM, which runs Debian's cloud kernel.
			Command:         []string{"sh", "-c", "case $(uname -r) in *cloud-amd64) ip route add blackhole 10.88.0.1;; esac"},
			SecurityContext: &corev1.SecurityContext{RunAsUser: &root, Capabilities: &corev1.Capabilities{Add: []corev1.Capability{"NET_ADMIN"}}},
		}}
	})
	r := e.route(nil)
	e.eventuallyPolled("an answer of the original", func() bool { return kernel.MatchString(e.get(r.Spec.Host)) })
	before := e.snapshot()
	run := e.shift(append([]string{"--weight", "100", "--exact", "--force"}, inSlowVM...)...) // the init container runs again
	if !run.reaches("prove") {
		t.Fatal(run.wait())
	}
	outside := 0
	for !run.reached("restore") {
		if run.reached("shift") {
			t.Fatal("the proof passed")
		}
		if !strings.Contains(e.get(r.Spec.Host), "cloud-amd64") {
			outside++
		} else {
			t.Error("a user was sent to the sandbox")
		}
		time.Sleep(200 * time.Millisecond)
	}
	result := run.wait()
	if result.code != 1 || !result.reports(reason.RouterDoesNotReachSandbox) {
		t.Errorf("%s", result)
	}
	t.Logf("the original answered %d users meanwhile", outside)
	if after := e.snapshot(); after != before {
		t.Errorf("before %s\nafter  %s", before, after)
	}
	e.checkNothingLeft()
}

// reached says whether the command has printed a step or has ended.
func (r *running) reached(step string) bool {
	select {
	case <-r.done:
		return true
	default:
		return strings.Contains(r.progress.String(), "s  "+step+" ")
	}
}

// countingProxy returns a kubeconfig of alice that goes through a proxy, and the number and the log
// of its requests, apart from those whose number depends on how long the sandbox takes to start: Events are read as long
// as it does not, and the API server ends each watch after some minutes.
func (e *env) countingProxy() (string, *atomic.Int64, *outputBuffer) {
	e.t.Helper()
	var count atomic.Int64
	log := &outputBuffer{}
	return e.proxied("alice", func(w http.ResponseWriter, r *http.Request, forward http.HandlerFunc) {
		again := isWatch(r) && strings.Contains(log.String(), "watch "+r.URL.Path+" ")
		if isWatch(r) {
			fmt.Fprint(log, "watch ", r.URL.Path, " ")
		}
		if !again && (r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, "/events")) {
			count.Add(1)
		}
		fmt.Fprintln(log, r.Method, r.URL.Path, r.URL.RawQuery)
		forward(w, r)
	}), &count, log
}

// vmSlots bounds how many tests have pods in the emulated VM at the same time; more would not be
// faster.
var vmSlots = make(chan struct{}, 2)

// inSlowVM are the options of a session whose pods may take longer to start than shift waits by
// default, as in the emulated VM on a busy machine.
var inSlowVM = []string{"--timeout", "20m", "--ttl", "1h"}

// reserveVM waits until the test may use the VM, and reserves its slot until the test ends.
func (e *env) reserveVM() {
	vmSlots <- struct{}{}
	e.t.Cleanup(func() { <-vmSlots })
}
