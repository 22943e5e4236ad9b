// Command demo is run by 'make demo'. It moves the traffic of a real Route from a runc pod into a
// sandbox VM, traces the application there, and moves the traffic back. Then it starts a second
// session and kills its command; the guard ends that session. The demo exits with 1 if a request
// fails or anything else goes wrong.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/osc-debug/osc-debug/test/load"
	"github.com/osc-debug/osc-debug/test/sample"
)

const (
	rate      = 340 // requests per second
	traceShow = 3   // trace lines that are shown for each path, and for each kind of TCP event
	sessionIs = 3   // minimum number of reloads that a session causes: arm, shift, restore
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

type demo struct {
	sample.Cluster
	ctx     context.Context
	load    *load.Run
	kernels map[string]bool
}

func run(ctx context.Context) error {
	cluster, err := sample.FromEnvironment()
	if err != nil {
		return err
	}
	d := &demo{ctx: ctx, Cluster: cluster, kernels: map[string]bool{}}
	begin := time.Now()
	title("example application: Deployment echo-runc, Service echo and Route echo-route in namespace %s, where user alice has role edit", sample.Namespace)
	first, err := d.Deploy(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("  %s\n", first)
	d.load = load.Start(sample.Load(rate))
	defer d.load.Stop()

	title("control: the router reloads %d times without a session", sessionIs)
	control, controlReloads, err := d.control(sessionIs)
	if err != nil {
		return err
	}
	d.show("before", control)

	title("setup: sandbox node and guard")
	if err := d.sandboxNode(); err != nil {
		return err
	}
	fmt.Println("  the sandbox node is ready; installing the guard ...")
	if err := d.InstallGuard(ctx, []string{sample.Namespace}); err != nil {
		return err
	}
	fmt.Println("  the guard is running in namespace osc-debug")

	title("session: osc-debug shift --route echo-route --weight 100 --exact --trace open,tcp --for 20s -n %s", sample.Namespace)
	before, reloads := d.load.Sums(), d.Reloads()
	during, foreign, err := d.session()
	if err != nil {
		return err
	}
	session, sessionReloads := d.load.Sums().Since(before), d.Reloads()-reloads
	d.show("during", during)
	if more := sessionReloads - controlReloads; more > 0 {
		title("control: %d more reloads, because the session caused %d", more, sessionReloads)
		sums, n, err := d.control(more)
		if err != nil {
			return err
		}
		control, controlReloads = control.Plus(sums), controlReloads+n
	}

	before, reloads = d.load.Sums(), d.Reloads()
	over, err := d.killedInTime()
	if err != nil {
		return err
	}
	killed, killedReloads := d.load.Sums().Since(before), d.Reloads()-reloads
	time.Sleep(2 * time.Second)
	d.show("after", d.load.Sums().Since(over))
	perSecond := d.load.Rate()
	total := d.load.Stop()

	title("totals")
	fmt.Printf("  control         %s, over %d reloads\n", control, controlReloads)
	fmt.Printf("  session         %s, over %d reloads\n", session, sessionReloads)
	fmt.Printf("  killed session  %s, over %d reloads\n", killed, killedReloads)
	fmt.Printf("  total           %s, %.0f requests/s, %d kernels, %.0f s\n", total, perSecond, len(d.kernels), time.Since(begin).Seconds())
	fmt.Println("  stale: sent on an idle keep-alive connection that a reload of the router had closed; clients retry, with or without a session")
	switch {
	case total.Failed > 0:
		return fmt.Errorf("%d requests failed", total.Failed)
	case len(d.kernels) != 2:
		return fmt.Errorf("answers came from %d kernels, wanted 2", len(d.kernels))
	case foreign > 0:
		return fmt.Errorf("%d trace lines come from other processes than the application", foreign)
	case perSecond < 300:
		return fmt.Errorf("only %.0f requests/s were sent, wanted at least 300", perSecond)
	}
	fmt.Println("  0 failed: the sessions affected no user and left nothing behind")
	return nil
}

func title(format string, args ...any) { fmt.Printf("\n"+format+"\n", args...) }

// control makes the router reload a number of times by changing a timeout. It returns the counts
// meanwhile and the number of reloads.
func (d *demo) control(times int) (load.Sums, int, error) {
	begin, reloads := d.load.Sums(), d.Reloads()
	for n := range times {
		_, err := d.Kubectl(d.ctx, "annotate", "route", "echo-route", "-n", sample.Namespace, "--overwrite", fmt.Sprintf("haproxy.router.openshift.io/timeout=%ds", 31+n))
		if err != nil {
			return load.Sums{}, 0, err
		}
		for wait := 0; d.Reloads() < reloads+n+1 && wait < 100; wait++ {
			time.Sleep(100 * time.Millisecond)
		}
	}
	_, err := d.Kubectl(d.ctx, "annotate", "route", "echo-route", "-n", sample.Namespace, "haproxy.router.openshift.io/timeout-")
	return d.load.Sums().Since(begin), d.Reloads() - reloads, err
}

// traceLine matches a line of the trace: its command, event and the first word of the detail.
var traceLine = regexp.MustCompile(`^[0-9:.]{12} +[0-9]+ +(\S+) +(\S+) +(\S+)`)

// session runs shift as the ordinary user and shows its output. It returns the counts while the
// session was live, and how many trace lines came from other processes than the application.
func (d *demo) session() (load.Sums, int, error) {
	cmd := d.Command(d.ctx, "shift", "--route", "echo-route", "--weight", "100", "--exact",
		"--trace", "open,tcp", "-o", "columns", "--for", "20s", "--router", sample.Router)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return load.Sums{}, 0, err
	}
	progress, err := cmd.StderrPipe()
	if err != nil {
		return load.Sums{}, 0, err
	}
	if err := cmd.Start(); err != nil {
		return load.Sums{}, 0, err
	}
	var live, restored load.Sums
	var foreign, lines int
	var wg sync.WaitGroup
	wg.Go(func() { lines, foreign = showTrace(out) })
	wg.Go(func() {
		for s := bufio.NewScanner(progress); s.Scan(); {
			fmt.Printf("  %s\n", s.Text())
			switch {
			case strings.Contains(s.Text(), "  live "):
				live = d.load.Sums()
			case strings.Contains(s.Text(), "  restore "):
				restored = d.load.Sums()
			}
		}
	})
	wg.Wait()
	if err := cmd.Wait(); err != nil {
		return load.Sums{}, 0, fmt.Errorf("osc-debug shift: %w", err)
	}
	if lines == 0 {
		return load.Sums{}, 0, fmt.Errorf("the tracer printed nothing")
	}
	fmt.Printf("  (%d trace lines in total)\n", lines)
	return restored.Since(live), foreign, nil
}

// sandboxNode waits for the VM, which has been booting since the cluster was started.
func (d *demo) sandboxNode() error {
	cmd := exec.CommandContext(d.ctx, filepath.Join(filepath.Dir(d.CLI), "devcluster"), "up")
	cmd.Stderr = os.Stderr // shows the progress
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("devcluster up: %w", err)
	}
	return nil
}

// killedTTLs are the time limits of the session whose command is killed. On a busy machine, a session with a short one
// is over before it is verified.
var killedTTLs = []time.Duration{9 * time.Second, 30 * time.Second, 2 * time.Minute}

// errOverEarly is the error of a session that was over before its command could be killed.
var errOverEarly = errors.New("the session was over before it was verified")

// killedInTime tries killed with longer and longer time limits, until the session lasts long enough to kill its
// command.
func (d *demo) killedInTime() (over load.Sums, err error) {
	for _, ttl := range killedTTLs {
		title("second session with --ttl %s: its command is killed (kill -9) while the sandbox serves users, and the guard ends the session on time", ttl)
		if over, err = d.killed(ttl); !errors.Is(err, errOverEarly) {
			return over, err
		}
		fmt.Printf("  %v; once more with more time\n", err)
	}
	return over, err
}

// killed starts a session, kills its command, and waits until the guard has ended the session. It
// returns the counts at that moment.
func (d *demo) killed(ttl time.Duration) (load.Sums, error) {
	cmd := d.Command(d.ctx, "shift", "--route", "echo-route", "--weight", "100", "--ttl", ttl.String(), "--router", sample.Router)
	progress, err := cmd.StderrPipe()
	if err != nil {
		return load.Sums{}, err
	}
	if err := cmd.Start(); err != nil {
		return load.Sums{}, err
	}
	verified := false
	for s := bufio.NewScanner(progress); !verified && s.Scan(); {
		fmt.Printf("  %s\n", s.Text())
		verified = strings.Contains(s.Text(), "in a row answered by the sandbox")
	}
	if !verified {
		_ = cmd.Wait() // it has said why
		return load.Sums{}, errOverEarly
	}
	if err := cmd.Process.Kill(); err != nil {
		return load.Sums{}, err
	}
	_ = cmd.Wait() // its error only says that it was killed
	begin, last := time.Now(), ""
	for time.Since(begin) < ttl+time.Minute {
		now, err := d.Kubectl(d.ctx, "get", "route", "echo-route", "-n", sample.Namespace, "-o",
			`jsonpath=original {.spec.to.weight}{range .spec.alternateBackends[*]}, sandbox {.weight}{end}; session {.metadata.labels.osc-debug\.dev/session}`)
		if err != nil {
			return load.Sums{}, err
		}
		if now != last {
			shown := now
			if strings.HasSuffix(now, "session ") {
				shown = strings.TrimSuffix(now, "session ") + "no session"
			}
			fmt.Printf("  %4.1f s after the kill   weights: %s\n", time.Since(begin).Seconds(), shown)
			last = now
		}
		if strings.HasSuffix(now, "session ") {
			left, err := d.Kubectl(d.ctx, "get", "pods,services", "-n", sample.Namespace, "-l", "osc-debug.dev/session", "-o", "name")
			if err != nil || strings.TrimSpace(left) != "" {
				return load.Sums{}, fmt.Errorf("the killed session left: %s %v", left, err)
			}
			return d.load.Sums(), nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return load.Sums{}, fmt.Errorf("the guard did not end the killed session within %s: %s", ttl+time.Minute, last)
}

// showTrace prints the first traceShow lines of each kind of a trace, and all lines of other processes
// than the application. It returns the number of trace lines, and how many of them came from other processes.
func showTrace(r io.Reader) (lines, foreign int) {
	shown := map[string]int{}
	for s := bufio.NewScanner(r); s.Scan(); {
		m := traceLine.FindStringSubmatch(s.Text())
		if m == nil {
			fmt.Printf("  %s\n", s.Text())
			continue
		}
		lines++
		if m[1] != "http-echo" {
			foreign++
		}
		kind := m[2]
		if kind == "open" {
			kind = m[3] // the path
		}
		if shown[kind]++; shown[kind] <= traceShow || m[1] != "http-echo" {
			fmt.Printf("  %s\n", s.Text())
		}
	}
	return lines, foreign
}

var answer = regexp.MustCompile(`pod=(\S+) kernel=(\S+)`)

// show prints the correct responses with their numbers, and notes the kernels in them.
func (d *demo) show(when string, s load.Sums) {
	var bodies []string
	for body := range s.Bodies {
		bodies = append(bodies, body)
		if m := answer.FindStringSubmatch(body); m != nil {
			d.kernels[m[2]] = true
		}
	}
	sort.Strings(bodies)
	for _, body := range bodies {
		fmt.Printf("  %-7s %6d × %s\n", when, s.Bodies[body], body)
	}
}
