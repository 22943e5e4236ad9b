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
	crashes    = 20
	crashRate  = 300
	guardsPart = 100 * time.Millisecond
	checkTime  = 6 * time.Second // the router's own check, every 5 s
)

// signalProgram is a command for the sidecar that sends the program a signal, and says
// when it does.
func signalProgram(signal string) []string {
	return []string{"exec", "--route", "echo-route", "--", "sh", "-c",
		"for p in /proc/[0-9]*; do case $(readlink $p/exe) in */http-echo) echo now; kill -" + signal + " ${p#/proc/};; esac; done"}
}

// crashed is one crash of the sandbox' program.
type crashed struct {
	patched  time.Duration // from the kill to the patched Route
	guard    time.Duration // of that, from the EndpointSlice's event on
	failed   int           // requests, from the kill on
	failedBy int           // of these, after the router's own check
}

// crash kills the program in the sandbox while it has all the traffic: the guard gives it
// back, and the sandbox stays to be looked at.
func (b *bench) crash() error {
	if err := b.example(); err != nil {
		return err
	}
	run := load.Start(sample.Load(crashRate + crashRate/8))
	defer run.Stop()
	for _, c := range []struct {
		times int
		args  []string
	}{{crashes, nil}, {crashes / 4, []string{"--failover"}}} {
		var all []crashed
		for n := range c.times {
			one, err := b.crashOnce(run, c.args)
			if err != nil {
				return fmt.Errorf("crash %d %v: %w", n+1, c.args, err)
			}
			fmt.Printf("crash %2d %v  kill to patched Route %.2f s, guard %d ms, failed %d\n", n+1, c.args, one.patched.Seconds(), one.guard.Milliseconds(), one.failed)
			all = append(all, one)
		}
		what := fmt.Sprintf("%d crashes at to: 0", c.times)
		if c.args != nil {
			what = fmt.Sprintf("%d crashes with --failover", c.times)
		}
		total, late := 0, 0
		for _, one := range all {
			total, late = total+one.failed, late+one.failedBy
		}
		patched, part := of(all, func(c crashed) time.Duration { return c.patched }), of(all, func(c crashed) time.Duration { return c.guard })
		fmt.Printf("%s: container exit to patched Route, median %.2f s, longest %.2f s; requests failed: %d\n", what, patched[len(patched)/2].Seconds(), patched[len(patched)-1].Seconds(), total)
		if c.args == nil {
			b.judge("the guard's part of it, median", part[len(part)/2] <= guardsPart, fmt.Sprintf("%d ms, longest %d ms", part[len(part)/2].Milliseconds(), part[len(part)-1].Milliseconds()), "<= 100 ms")
		} else {
			b.judge("requests failed after the router's own check", late == 0, fmt.Sprint(late), "0")
		}
	}
	return b.pauseOnce(run)
}

func of(all []crashed, get func(crashed) time.Duration) []time.Duration {
	var out []time.Duration
	for _, c := range all {
		out = append(out, get(c))
	}
	slices.Sort(out)
	return out
}

func (b *bench) crashOnce(run *load.Run, args []string) (crashed, error) {
	id, err := b.detached(args...)
	if err != nil {
		return crashed{}, err
	}
	time.Sleep(2 * time.Second)
	seen, err := b.watchCrash(id)
	if err != nil {
		return crashed{}, err
	}
	before := run.Sums().Failed
	killed, err := b.signal("KILL")
	if err != nil {
		return crashed{}, err
	}
	time.Sleep(time.Until(killed.Add(checkTime)))
	checked := run.Sums().Failed
	s := <-seen
	if s.err != nil {
		return crashed{}, s.err
	}
	time.Sleep(6 * time.Second) // the router's next reload, and requests under way
	after := run.Sums().Failed
	c := crashed{patched: s.patched.Sub(killed), guard: s.patched.Sub(s.unready), failed: after - before}
	c.failedBy = after - checked
	pod := ours + id + "-a"
	if _, err := b.Kubectl(b.ctx, "logs", "-n", sample.Namespace, pod, "-c", "echo"); err != nil {
		return c, fmt.Errorf("the held sandbox' log can't be read: %w", err)
	}
	if now, err := b.status(); err != nil || now.State != "held" {
		return c, fmt.Errorf("state %q, wanted held: %v", now.State, err)
	}
	return c, b.rollback()
}

// signal sends one to the program in the sandbox and returns when it was.
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

// pauseOnce stops the program for a while: the session is held, and resumed by weight.
func (b *bench) pauseOnce(run *load.Run) error {
	if _, err := b.detached(); err != nil {
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
		return fmt.Errorf("the session is not %s", want)
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
		return fmt.Errorf("weight does not resume: %w: %s", err, out)
	}
	before := run.Sums().Failed
	time.Sleep(10 * time.Second)
	b.judge("a held sandbox that is ready again is resumed by weight: failed", run.Sums().Failed == before, fmt.Sprint(run.Sums().Failed-before), "0")
	return b.rollback()
}

// crashSeen is when the API server told of it.
type crashSeen struct {
	unready, patched time.Time
	err              error
}

// watchCrash watches for the sandbox' last endpoint to become unready and for the Route
// to be patched then.
func (b *bench) watchCrash(id string) (<-chan crashSeen, error) {
	core, client, err := b.clients()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(b.ctx, 2*time.Minute)
	events, err := watches(ctx, "osc-debug.dev/session="+id, core.DiscoveryV1().EndpointSlices(sample.Namespace).Watch, client.RouteV1().Routes(sample.Namespace).Watch)
	if err != nil {
		cancel()
		return nil, err
	}
	done := make(chan crashSeen, 1)
	go func() {
		defer cancel()
		var seen crashSeen
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
		done <- seen
	}()
	return done, nil
}

func ready(s *discoveryv1.EndpointSlice) bool {
	for _, e := range s.Endpoints {
		if e.Conditions.Ready != nil && *e.Conditions.Ready {
			return true
		}
	}
	return false
}
