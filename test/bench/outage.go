package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/osc-debug/osc-debug/test/load"
	"github.com/osc-debug/osc-debug/test/sample"
)

const (
	outageTime = 60 * time.Second
	outageRate = 150
)

// When a session that an outage meets ends.
const (
	endsLater  = iota // it is interrupted when all is back
	endsBefore        // its Route is restored, its sandbox drains
	endsWithin        // it is interrupted while nothing answers
	timeIsOver        // its time is over while nothing answers; its command is gone
)

// outage takes the API server away for a minute while a session is live, and while one
// ends; and restarts etcd. Users must not notice, and nothing may be lost.
func (b *bench) outage() error {
	if err := b.example(); err != nil {
		return err
	}
	run := load.Start(sample.Load(outageRate))
	defer run.Stop()
	for _, c := range []struct {
		what, component string
		away            time.Duration
		ends            int
	}{
		{"API server away for 60 s, session live", "kube-apiserver", outageTime, endsLater},
		{"API server away for 60 s, session draining", "kube-apiserver", outageTime, endsBefore},
		{"API server away for 60 s, session ended within", "kube-apiserver", outageTime, endsWithin},
		{"API server away for 60 s, time over within", "kube-apiserver", outageTime, timeIsOver},
		{"etcd restarted, session live", "etcd", time.Second, endsLater},
		{"etcd restarted, session draining", "etcd", time.Second, endsBefore},
		{"etcd restarted, session ended within", "etcd", time.Second, endsWithin},
	} {
		before := run.Sums().Failed
		code, err := b.away(c.component, c.away, c.ends)
		if err != nil {
			return fmt.Errorf("%s: %w", c.what, err)
		}
		failed := run.Sums().Failed - before
		b.judge(c.what+": requests failed", failed == 0, fmt.Sprint(failed), "0")
		b.judge("  the Route as before, nothing left; the command's exit code", code == 0, fmt.Sprint(code), "0")
	}
	return nil
}

// away holds a session, takes a component away, and sees that all is well afterwards. It
// returns the command's exit code.
func (b *bench) away(component string, away time.Duration, ends int) (int, error) {
	if ends == timeIsOver {
		if _, err := b.detached("--ttl", "20s"); err != nil {
			return 0, err
		}
		if err := b.without(component, away, nil); err != nil {
			return 0, err
		}
		return 0, b.cleanWithin(3 * time.Minute)
	}
	cmd, err := b.begin("--weight", "100", "--drain", "10s")
	if err != nil {
		return 0, err
	}
	interrupt := func() error { return cmd.Process.Signal(os.Interrupt) }
	time.Sleep(3 * time.Second)
	if ends == endsBefore {
		if err := interrupt(); err != nil {
			return 0, err
		}
		time.Sleep(2 * time.Second) // the Route is restored, its sandbox drains
	}
	var within func() error
	if ends == endsWithin {
		within = interrupt
	}
	if err := b.without(component, away, within); err != nil {
		return 0, err
	}
	if ends == endsLater {
		time.Sleep(10 * time.Second) // the session goes on
		if err := interrupt(); err != nil {
			return 0, err
		}
	}
	code := 0
	var exit *exec.ExitError
	if err := cmd.Wait(); errors.As(err, &exit) {
		code = exit.ExitCode()
		fmt.Printf("the command ended with %d:\n%s\n", code, strings.Join(<-b.said, "\n"))
	} else if err != nil {
		return 0, err
	}
	return code, b.cleanWithin(3 * time.Minute)
}

// without takes a component away for a time, and does something as soon as it is away.
func (b *bench) without(component string, away time.Duration, do func() error) error {
	if err := b.devcluster(nil, "stop", component); err != nil {
		return err
	}
	var failed error
	if do != nil {
		failed = do()
	}
	time.Sleep(away)
	return errors.Join(failed, b.devcluster(nil, "start", component))
}

// node kills the sandbox' machine: the Route comes back when Kubernetes notices.
func (b *bench) node() error {
	if err := b.example(); err != nil {
		return err
	}
	run := load.Start(sample.Load(outageRate))
	defer run.Stop()
	id, err := b.detached()
	if err != nil {
		return err
	}
	seen, err := b.watchCrash(id)
	if err != nil {
		return err
	}
	time.Sleep(2 * time.Second)
	before := run.Sums().Failed
	if err := b.devcluster(nil, "stop", "qemu"); err != nil {
		return err
	}
	died := time.Now()
	s := <-seen
	if s.err != nil {
		return s.err
	}
	time.Sleep(10 * time.Second)
	b.judge("the guard's part of it", s.patched.Sub(s.unready) <= guardsPart, fmt.Sprintf("%d ms", s.patched.Sub(s.unready).Milliseconds()), "<= 100 ms")
	fmt.Printf("the sandbox' node dies: %.0f s to the patched Route (Kubernetes' node-monitor-grace-period is 40 s here), %d requests failed\n", s.patched.Sub(died).Seconds(), run.Sums().Failed-before)
	failed := run.Sums().Failed
	time.Sleep(5 * time.Second)
	b.judge("requests failed after it", run.Sums().Failed == failed, fmt.Sprint(run.Sums().Failed-failed), "0")
	if err := b.devcluster(nil, "start", "qemu"); err != nil {
		return err
	}
	if err := b.devcluster(nil, "up"); err != nil { // waits for the node
		return err
	}
	var out bytes.Buffer
	cmd := b.Command(b.ctx, "rollback", "--route", "echo-route")
	cmd.Stderr = &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("rollback: %w: %s", err, out.String())
	}
	return b.cleanWithin(2 * time.Minute)
}
