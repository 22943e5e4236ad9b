//go:build e2e

package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	routev1 "github.com/openshift/api/route/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/osc-debug/osc-debug/pkg/reason"
)

// onRealNode makes a hand-made Deployment one that a kubelet runs.
func onRealNode(d *appsv1.Deployment, s *corev1.Service) {
	spec := &d.Spec.Template.Spec
	spec.NodeSelector, spec.Tolerations = nil, nil
	spec.Containers[0].Args = []string{"-text", "hello", "-listen", ":8080"}
	spec.Containers[0].Ports = []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}}
	spec.Containers[0].ReadinessProbe = &corev1.Probe{
		ProbeHandler:  corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/", Port: intstr.FromString("http")}},
		PeriodSeconds: 1, TimeoutSeconds: 5,
	}
	s.Spec.Ports = s.Spec.Ports[:1]
}

var kernel = regexp.MustCompile(`kernel=(\S+)`)

// A real session: a pod in the VM answers users, the tracer sees that program and no
// other, exec runs in the VM as root, and the Route is as it was.
func TestARealSession(t *testing.T) {
	t.Parallel()
	e := newGuardedEnv(t)
	e.inTheVM()
	e.deployment("web", 1, onRealNode)
	r := e.route(func(r *routev1.Route) {
		r.Spec.TLS = &routev1.TLSConfig{Termination: "edge", InsecureEdgeTerminationPolicy: "Allow"}
	})
	host := r.Spec.Host
	e.answers("an answer of the original", func() bool { return kernel.MatchString(e.get(host)) })
	outside := kernel.FindStringSubmatch(e.get(host))[1]
	before := e.tested()

	proxy, requests, log := e.countingProxy()
	run := e.start(proxy, "shift", "--route", "shop", "--router", routerIP, "--drain", "1s", "--weight", "100", "--exact", "--trace", "open,tcp")
	if !run.reaches("live") {
		t.Fatal(run.wait())
	}
	e.eventually("gadgets at work", func() bool { return strings.Count(run.progress.String(), " works ") == 2 })
	inside := ""
	for range 20 {
		answer := kernel.FindStringSubmatch(e.get(host))
		if answer == nil || answer[1] == outside {
			t.Fatalf("at 100 percent the original answered, or nobody: %v", answer)
		}
		inside = answer[1]
	}
	if release := e.cli("exec", "--", "uname", "-r"); strings.TrimSpace(release.out) != inside || release.code != 0 {
		t.Errorf("exec runs under kernel %s, the sandbox under %s", release, inside)
	}
	if r := e.cli("exec", "--", "sh", "-c", "exit 7"); r.code != 7 {
		t.Errorf("exec must pass the exit code 7 on: %s", r)
	}
	if r := e.cli("exec", "--", "no-such-command"); r.code == 0 {
		t.Errorf("a command that is not there: %s", r)
	}
	// The tools that there are, as the guide has them.
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
	run.signal(syscall.SIGINT)
	result := run.wait()
	if result.code != 0 {
		t.Fatal(result)
	}
	if n := requests.Load(); n > 40 {
		t.Errorf("%d API requests for a session, more than 40:\n%s", n, log)
	} else {
		told(t, "%d API requests for a session, discovery aside", n)
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
			t.Errorf("an event of another process: %s", s.Text())
		}
		if event.Open != nil && event.Open.Path == "/proc/sys/kernel/osrelease" {
			opens++
		}
		if event.TCP != nil && event.TCP.Op == "accept" && strings.HasSuffix(event.TCP.Local, ":8080") {
			accepts++
		}
	}
	if opens < 20 || accepts < 1 {
		t.Errorf("%d opens and %d accepts traced of 20 requests", opens, accepts)
	}
	if n := strings.Count(result.errOut, "events seen = "); n != 2 || strings.Contains(result.errOut, "does not add up") {
		t.Errorf("wanted two ledgers that add up: %s", result.errOut)
	}
	if after := e.tested(); after != before {
		t.Errorf("before %s\nafter  %s", before, after)
	}
	e.nothingLeft()
}

// Whoever shows the trace in a pager and reads no further holds up nothing: the Route is
// restored on time, and the command ends.
func TestAReaderWhoStopsReadingHoldsUpNothing(t *testing.T) {
	t.Parallel()
	e := newGuardedEnv(t)
	e.inTheVM()
	e.deployment("web", 1, onRealNode)
	host := e.route(nil).Spec.Host
	before := e.tested()
	read, write, err := os.Pipe()
	e.ok(err)
	defer read.Close()
	run := e.startInto(write, "shift", "--route", "shop", "--router", routerIP, "--drain", "1s", "--weight", "100", "--trace", "open,tcp")
	write.Close()
	if !run.reaches("live") {
		t.Fatal(run.wait())
	}
	e.eventually("gadgets at work", func() bool { return strings.Count(run.progress.String(), " works ") == 2 })
	for range 300 { // two opens and two connections each, of 200 bytes or more: more than a pipe holds
		e.get(host)
	}
	run.signal(syscall.SIGINT)
	if r := run.wait(); r.code != 0 || !r.because(reason.TracerDidNotEnd) {
		t.Error(r)
	}
	if after := e.tested(); after != before {
		t.Errorf("before %s\nafter  %s", before, after)
	}
	e.nothingLeft()
}

// The guest drops what it would send to the router, while its own kubelet still finds
// the pod ready: the proof fails, no user is sent there.
func TestASandboxOutOfTheRoutersReachIsNeverUsed(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.inTheVM()
	image := ""
	if data, err := os.ReadFile(filepath.Join(filepath.Dir(state), "sidecar.ref")); err == nil {
		image = strings.TrimSpace(string(data))
	}
	root := int64(0)
	e.deployment("web", 1, func(d *appsv1.Deployment, s *corev1.Service) {
		onRealNode(d, s)
		d.Spec.Template.Spec.InitContainers = []corev1.Container{{
			Name: "firewall", Image: image,
			// The VM's kernel is Debian's cloud kernel; the machine's need not be.
			Command:         []string{"sh", "-c", "case $(uname -r) in *cloud-amd64) ip route add blackhole 10.88.0.1;; esac"},
			SecurityContext: &corev1.SecurityContext{RunAsUser: &root, Capabilities: &corev1.Capabilities{Add: []corev1.Capability{"NET_ADMIN"}}},
		}}
	})
	r := e.route(nil)
	e.answers("an answer of the original", func() bool { return kernel.MatchString(e.get(r.Spec.Host)) })
	before := e.tested()
	run := e.shift("--weight", "100", "--exact")
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
	if result.code != 1 || !result.because(reason.RouterDoesNotReachSandbox) {
		t.Errorf("%s", result)
	}
	t.Logf("%d users were answered by the original meanwhile", outside)
	if after := e.tested(); after != before {
		t.Errorf("before %s\nafter  %s", before, after)
	}
	e.nothingLeft()
}

func (r *running) reached(step string) bool {
	select {
	case <-r.done:
		return true
	default:
		return strings.Contains(r.progress.String(), "s  "+step+" ")
	}
}

// countingProxy stands before the API server and counts requests. It
// returns a kubeconfig of alice's that goes through it.
func (e *env) countingProxy() (string, *atomic.Int64, *watched) {
	e.t.Helper()
	var count atomic.Int64
	log := &watched{}
	return e.proxied("alice", func(w http.ResponseWriter, r *http.Request, forward http.HandlerFunc) {
		count.Add(1)
		fmt.Fprintln(log, r.Method, r.URL.Path, r.URL.RawQuery)
		forward(w, r)
	}), &count, log
}

// vm bounds the tests that have pods in the emulated VM at once: it starts more of them no sooner.
var vm = make(chan struct{}, 2)

// inTheVM waits until a test may have a sandbox there, until its end.
func (e *env) inTheVM() {
	vm <- struct{}{}
	e.t.Cleanup(func() { <-vm })
}
