package main

import (
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
	outageRate = 150 // requests per second
)

// When a session ends relative to an outage.
const (
	endsAfter  = iota // it is interrupted after the outage
	endsBefore        // the outage starts while its sandbox drains
	endsDuring        // it is interrupted during the outage
	expires           // it is detached and expires during the outage
)

// outage stops the API server for a minute, and restarts etcd, while a session is live and while one
// ends. Users must not notice, and nothing may be left.
func (b *bench) outage() error {
	if err := b.deployExample(); err != nil {
		return err
	}
	run := load.Start(sample.Load(outageRate))
	defer run.Stop()
	// A controller manager exits when it cannot renew its Lease, and forgets since when it has not heard of a
	// node. The one here runs without a Lease. If it kept running, it would report all nodes as not ready after
	// the outage, and the router would send nobody to any pod, with or without a session.
	apiServer := []string{"kube-apiserver", "kube-controller-manager"}
	etcd := []string{"etcd"}
	for _, c := range []struct {
		what       string
		components []string
		downtime   time.Duration
		ends       int
	}{
		{"API server down for 60 s, session live", apiServer, outageTime, endsAfter},
		{"API server down for 60 s, session draining", apiServer, outageTime, endsBefore},
		{"API server down for 60 s, session ended meanwhile", apiServer, outageTime, endsDuring},
		{"API server down for 60 s, session expired meanwhile", apiServer, outageTime, expires},
		{"etcd restarted, session live", etcd, time.Second, endsAfter},
		{"etcd restarted, session draining", etcd, time.Second, endsBefore},
		{"etcd restarted, session ended meanwhile", etcd, time.Second, endsDuring},
	} {
		before := run.Sums().Failed
		code, err := b.runOutage(c.components, c.downtime, c.ends)
		if err != nil {
			return fmt.Errorf("%s: %w", c.what, err)
		}
		failed := run.Sums().Failed - before
		b.judge(c.what+": failed requests", failed == 0, fmt.Sprint(failed), "0")
		b.judge("  Route as before, nothing left; exit code of the command", code == 0, fmt.Sprint(code), "0")
	}
	return nil
}

// runOutage runs a session while components are down, and waits until nothing of the session is
// left. It returns the command's exit code.
func (b *bench) runOutage(components []string, downtime time.Duration, ends int) (int, error) {
	if err := b.waitForProgram(2 * time.Minute); err != nil {
		return 0, err
	}
	if ends == expires {
		if _, err := b.startDetached("--ttl", "20s"); err != nil {
			return 0, err
		}
		if err := b.stopFor(components, downtime, nil); err != nil {
			return 0, err
		}
		return 0, b.waitForClean(3 * time.Minute)
	}
	cmd, err := b.startSession("--weight", "100", "--drain", "10s")
	if err != nil {
		return 0, err
	}
	interrupt := func() error { return cmd.Process.Signal(os.Interrupt) }
	time.Sleep(3 * time.Second)
	if ends == endsBefore {
		if err := interrupt(); err != nil {
			return 0, err
		}
		time.Sleep(2 * time.Second) // until the Route is restored and the sandbox drains
	}
	var meanwhile func() error
	if ends == endsDuring {
		meanwhile = interrupt
	}
	if err := b.stopFor(components, downtime, meanwhile); err != nil {
		return 0, err
	}
	if ends == endsAfter {
		time.Sleep(10 * time.Second) // the session continues
		if err := interrupt(); err != nil {
			return 0, err
		}
	}
	code := 0
	var exit *exec.ExitError
	if err := cmd.Wait(); errors.As(err, &exit) {
		code = exit.ExitCode()
		fmt.Printf("the command exited with %d:\n%s\n", code, strings.Join(<-b.output, "\n"))
	} else if err != nil {
		return 0, err
	}
	return code, b.waitForClean(3 * time.Minute)
}

// stopFor stops components for a time and calls do, if not nil, as soon as the first one is down.
func (b *bench) stopFor(components []string, downtime time.Duration, do func() error) error {
	var failed error
	for i, c := range components {
		if err := b.devcluster(nil, "stop", c); err != nil {
			return errors.Join(failed, err)
		}
		if i == 0 && do != nil {
			failed = do()
		}
	}
	time.Sleep(downtime)
	for _, c := range components {
		failed = errors.Join(failed, b.devcluster(nil, "start", c))
	}
	return failed
}

// settleTime is longer than Kubernetes needs after an outage to notice that a node's Lease has
// expired (it checks every 5 s), and that its pods are therefore not ready.
const settleTime = 10 * time.Second

// waitForProgram waits until the nodes and the example's pods are ready and stay so.
func (b *bench) waitForProgram(wait time.Duration) error {
	time.Sleep(settleTime)
	for _, what := range [][]string{{"node", "--all"}, {"pod", "-n", sample.Namespace, "-l", "!osc-debug.dev/session"}} {
		args := append([]string{"wait", "--for=condition=Ready", "--timeout=" + wait.String()}, what...)
		if _, err := b.Kubectl(b.ctx, args...); err != nil {
			return err
		}
	}
	return nil
}
