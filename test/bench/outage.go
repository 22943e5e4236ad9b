package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"

	"github.com/osc-debug/osc-debug/test/load"
	"github.com/osc-debug/osc-debug/test/sample"
)

const (
	outageTime = 60 * time.Second
	outageRate = 150
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
		ending          bool // the session is interrupted before
	}{
		{"API server away for 60 s, session live", "kube-apiserver", outageTime, false},
		{"API server away for 60 s, session ending", "kube-apiserver", outageTime, true},
		{"etcd restarted, session live", "etcd", time.Second, false},
		{"etcd restarted, session ending", "etcd", time.Second, true},
	} {
		before := run.Sums().Failed
		said, err := b.away(c.component, c.away, c.ending)
		if err != nil {
			return fmt.Errorf("%s: %w", c.what, err)
		}
		failed := run.Sums().Failed - before
		b.judge(c.what+": requests failed", failed == 0, fmt.Sprint(failed), "0")
		fmt.Printf("  %s; the Route is as before, nothing is left\n", said)
	}
	return nil
}

// away holds a session, takes a component away, and sees that all is well afterwards. It
// returns how the command ended.
func (b *bench) away(component string, away time.Duration, ending bool) (string, error) {
	cmd, err := b.begin("--weight", "100", "--drain", "10s")
	if err != nil {
		return "", err
	}
	time.Sleep(3 * time.Second)
	if ending {
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			return "", err
		}
		time.Sleep(2 * time.Second) // the Route is restored, its sandbox drains
	}
	if err := b.devcluster(nil, "stop", component); err != nil {
		return "", err
	}
	time.Sleep(away)
	if err := b.devcluster(nil, "start", component); err != nil {
		return "", err
	}
	if !ending {
		time.Sleep(10 * time.Second) // the session goes on
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			return "", err
		}
	}
	said := "the command ended clean"
	var exit *exec.ExitError
	if err := cmd.Wait(); errors.As(err, &exit) {
		said = fmt.Sprintf("the command ended with code %d, the guard finished", exit.ExitCode())
	} else if err != nil {
		return "", err
	}
	return said, b.cleanWithin(3 * time.Minute)
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
