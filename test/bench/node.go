package main

import (
	"bytes"
	"fmt"
	"time"

	"github.com/osc-debug/osc-debug/test/load"
	"github.com/osc-debug/osc-debug/test/sample"
)

// lastFailure is how long after the restore a request may fail: the router reloads up to 5 s later, and a
// request that was sent to the dead node before that waits for up to 25 s (test/load).
const lastFailure = 31 * time.Second

// node kills the sandbox's node. The guard restores the Route when Kubernetes has noticed.
func (b *bench) node() error {
	if err := b.deployExample(); err != nil {
		return err
	}
	run := load.Start(sample.Load(outageRate))
	defer run.Stop()
	id, err := b.startDetached()
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
	time.Sleep(lastFailure)
	b.judge("part of the guard in the restore", s.patched.Sub(s.unready) <= guardTarget, fmt.Sprintf("%d ms", s.patched.Sub(s.unready).Milliseconds()), "<= 100 ms")
	fmt.Printf("the sandbox's node dies: %.0f s to the patched Route (node-monitor-grace-period of Kubernetes is 40 s here), %d requests failed\n", s.patched.Sub(died).Seconds(), run.Sums().Failed-before)
	failed := run.Sums().Failed
	time.Sleep(5 * time.Second)
	b.judge("failed requests after it", run.Sums().Failed == failed, fmt.Sprint(run.Sums().Failed-failed), "0")
	if err := b.devcluster(nil, "start", "qemu"); err != nil {
		return err
	}
	if err := b.devcluster(nil, "up"); err != nil { // "up" waits for the node
		return err
	}
	var out bytes.Buffer
	cmd := b.Command(b.ctx, "rollback", "--route", "echo-route")
	cmd.Stderr = &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("rollback: %w: %s", err, out.String())
	}
	return b.waitForClean(2 * time.Minute)
}
