package main

import (
	"bufio"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	routev1 "github.com/openshift/api/route/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/osc-debug/osc-debug/test/load"
	"github.com/osc-debug/osc-debug/test/sample"
)

const (
	crashes     = 20
	crashRate   = 300                    // requests per second
	guardTarget = 100 * time.Millisecond // target for the guard's reaction
	checkTime   = 6 * time.Second        // the router checks servers every 5 s
)

// signalProgram returns the arguments of an exec in the sidecar that sends the program a signal and
// prints "now" just before.
func signalProgram(signal string) []string {
	return []string{"exec", "--route", "echo-route", "--", "sh", "-c",
		"for p in /proc/[0-9]*; do case $(readlink $p/exe) in */http-echo) echo now; kill -" + signal + " ${p#/proc/};; esac; done"}
}

// crashResult is the result of one crash of the sandbox's program.
type crashResult struct {
	patched    time.Duration // from the kill to the patched Route
	guard      time.Duration // part of patched after the EndpointSlice's event
	failed     int           // failed requests since the kill
	failedLate int           // part of failed after the router's own check
}

// crash kills the program in the sandbox while the sandbox has all the traffic. The guard gives the
// traffic back and keeps the sandbox for inspection.
func (b *bench) crash() error {
	if err := b.deployExample(); err != nil {
		return err
	}
	run := load.Start(sample.Load(crashRate + crashRate/8))
	defer run.Stop()
	for _, c := range []struct {
		times int
		args  []string
	}{{crashes, nil}, {crashes / 4, []string{"--failover"}}} {
		var all []crashResult
		for n := range c.times {
			one, err := b.crashOnce(run, c.args)
			if err != nil {
				return fmt.Errorf("crash %d %v: %w", n+1, c.args, err)
			}
			fmt.Printf("crash %2d %v  from the kill to the patched Route %.2f s, guard %d ms, failed requests %d\n", n+1, c.args, one.patched.Seconds(), one.guard.Milliseconds(), one.failed)
			all = append(all, one)
		}
		what := fmt.Sprintf("%d crashes with the original at weight 0", c.times)
		if c.args != nil {
			what = fmt.Sprintf("%d crashes with --failover", c.times)
		}
		total, late := 0, 0
		for _, one := range all {
			total, late = total+one.failed, late+one.failedLate
		}
		patched, part := sortedTimes(all, func(c crashResult) time.Duration { return c.patched }), sortedTimes(all, func(c crashResult) time.Duration { return c.guard })
		fmt.Printf("%s: from the kill to the patched Route, median %.2f s, longest %.2f s; failed requests: %d\n", what, patched[len(patched)/2].Seconds(), patched[len(patched)-1].Seconds(), total)
		if c.args == nil {
			b.judge("part of the guard in it, median", part[len(part)/2] <= guardTarget, fmt.Sprintf("%d ms, longest %d ms", part[len(part)/2].Milliseconds(), part[len(part)-1].Milliseconds()), "<= 100 ms")
		} else {
			b.judge("failed requests after the router's own check", late == 0, fmt.Sprint(late), "0")
		}
	}
	return b.pauseOnce(run)
}

// sortedTimes returns a duration of each crash, in ascending order.
func sortedTimes(all []crashResult, get func(crashResult) time.Duration) []time.Duration {
	var out []time.Duration
	for _, c := range all {
		out = append(out, get(c))
	}
	slices.Sort(out)
	return out
}

// crashOnce starts a detached session, kills the sandbox's program and measures the guard's reaction.
func (b *bench) crashOnce(run *load.Run, args []string) (crashResult, error) {
	id, err := b.startDetached(args...)
	if err != nil {
		return crashResult{}, err
	}
	time.Sleep(2 * time.Second)
	seen, err := b.watchCrash(id)
	if err != nil {
		return crashResult{}, err
	}
	before := run.Sums().Failed
	killed, err := b.signal("KILL")
	if err != nil {
		return crashResult{}, err
	}
	time.Sleep(time.Until(killed.Add(checkTime)))
	checked := run.Sums().Failed
	s := <-seen
	if s.err != nil {
		return crashResult{}, s.err
	}
	time.Sleep(6 * time.Second) // until the router has reloaded and current requests have ended
	after := run.Sums().Failed
	c := crashResult{patched: s.patched.Sub(killed), guard: s.patched.Sub(s.unready), failed: after - before}
	c.failedLate = after - checked
	pod := namePrefix + id + "-a"
	if _, err := b.Kubectl(b.ctx, "logs", "-n", sample.Namespace, pod, "-c", "echo"); err != nil {
		return c, fmt.Errorf("cannot read the log of the held sandbox: %w", err)
	}
	if now, err := b.status(); err != nil || now.State != "held" {
		return c, fmt.Errorf("state %q, wanted held: %v", now.State, err)
	}
	return c, b.rollback()
}

// signal sends a signal to the program in the sandbox and returns when it was sent.
func (b *bench) signal(name string) (time.Time, error) {
	cmd := b.Command(b.ctx, signalProgram(name)...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return time.Time{}, err
	}
	if err := cmd.Start(); err != nil {
		return time.Time{}, err
	}
	line, _ := bufio.NewReader(out).ReadString('\n')
	at := time.Now()
	if err := cmd.Wait(); err != nil || strings.TrimSpace(line) != "now" {
		return at, fmt.Errorf("signal %s: %q %w", name, line, err)
	}
	return at, nil
}

// pauseOnce stops the program for a while (SIGSTOP). The session is held, and 'weight' resumes it.
func (b *bench) pauseOnce(run *load.Run) error {
	if _, err := b.startDetached(); err != nil {
		return err
	}
	if _, err := b.signal("STOP"); err != nil {
		return err
	}
	held := func(want string) error {
		for range 60 {
			if s, err := b.status(); err == nil && s.State == want {
				return nil
			}
			time.Sleep(time.Second)
		}
		return fmt.Errorf("the session is not %s after 60 s", want)
	}
	if err := held("held"); err != nil {
		return err
	}
	if _, err := b.signal("CONT"); err != nil {
		return err
	}
	var out []byte
	var err error
	for range 30 {
		if out, err = b.Command(b.ctx, "weight", "100", "--route", "echo-route", "--router", sample.Router).CombinedOutput(); err == nil {
			break
		}
		time.Sleep(time.Second)
	}
	if err != nil {
		return fmt.Errorf("osc-debug weight does not resume the session: %w: %s", err, out)
	}
	before := run.Sums().Failed
	time.Sleep(10 * time.Second)
	b.judge("held session resumed with weight: failed requests", run.Sums().Failed == before, fmt.Sprint(run.Sums().Failed-before), "0")
	return b.rollback()
}

// crashTimes are the times of the API server's events after a crash.
type crashTimes struct {
	unready, patched time.Time
	err              error
}

// watchCrash watches until the sandbox's last endpoint is unready and the Route is patched after
// that.
func (b *bench) watchCrash(id string) (<-chan crashTimes, error) {
	core, client, err := b.clients()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(b.ctx, 2*time.Minute)
	events, err := openWatches(ctx, "osc-debug.dev/session="+id, core.DiscoveryV1().EndpointSlices(sample.Namespace).Watch, client.RouteV1().Routes(sample.Namespace).Watch)
	if err != nil {
		cancel()
		return nil, err
	}
	done := make(chan crashTimes, 1)
	go func() {
		defer cancel()
		var seen crashTimes
		for seen.patched.IsZero() && seen.err == nil {
			select {
			case <-ctx.Done():
				seen.err = fmt.Errorf("the Route was not patched: %w", ctx.Err())
			case e := <-events[0]:
				if s, ok := e.Object.(*discoveryv1.EndpointSlice); ok && seen.unready.IsZero() && !ready(s) {
					seen.unready = time.Now()
				}
			case e := <-events[1]:
				if r, ok := e.Object.(*routev1.Route); ok && e.Type == watch.Modified && sandboxWeight(r) == 0 {
					seen.patched = time.Now()
				}
			}
		}
		if seen.unready.IsZero() { // its event came after that of the patched Route
			seen.unready = seen.patched
		}
		done <- seen
	}()
	return done, nil
}

// ready says whether an EndpointSlice has a ready endpoint.
func ready(s *discoveryv1.EndpointSlice) bool {
	for _, e := range s.Endpoints {
		if e.Conditions.Ready != nil && *e.Conditions.Ready {
			return true
		}
	}
	return false
}
