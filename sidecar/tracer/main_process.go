package tracer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// protected is the value of oom_score_adj with which the kernel never kills a process, also not when it kills all
// processes of a cgroup together (the kernel's cgroup-v2.rst, memory.oom.group).
const protected = "-1000"

// protect protects this process from being killed for memory that another tool of the sidecar takes. It is for the main
// process, because the pod would not be ready without it and its session would be held, and for the recorder. Both need
// little memory themselves.
func protect() {
	if err := os.WriteFile("/proc/self/oom_score_adj", []byte(protected), 0); err != nil {
		fmt.Fprintln(os.Stderr, "osc-tracer: a tool that needs too much memory may end this container:", err)
	}
}

// Idle is the sidecar's main process if nothing is recorded: it waits until the context ends.
func Idle(ctx context.Context) {
	protect()
	<-ctx.Done()
}

// stopLimit is how long a recorder may take to stop.
const stopLimit = 5 * time.Second

// Supervise is the sidecar's main process if something is recorded. It runs the recorder, this program with args, until
// the context ends. If the recorder ends earlier or is killed, Supervise writes that into the state of the recording in
// dir and goes on: what was recorded can still be fetched, and other tools run beside it.
func Supervise(ctx context.Context, dir string, args ...string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	recorder := exec.CommandContext(ctx, self, args...)
	recorder.Stdout, recorder.Stderr = os.Stdout, os.Stderr // the container's log
	recorder.Cancel = func() error { return recorder.Process.Signal(syscall.SIGTERM) }
	recorder.WaitDelay = stopLimit
	protect() // the recorder inherits it
	if err = recorder.Start(); err == nil {
		err = recorder.Wait()
	}
	if ctx.Err() != nil {
		return nil
	}
	err = fmt.Errorf("the recorder ended: %w", cmp.Or(err, errors.New("exit status 0")))
	fmt.Fprintln(os.Stderr, "osc-tracer:", err)
	err = noteFailure(dir, err)
	<-ctx.Done()
	return err
}

// noteFailure writes into the state of a recording why it is not recorded any more, unless the state has a reason.
func noteFailure(dir string, why error) error {
	state, _ := ReadState(dir) // what it had, if anything
	if state.Attached.IsZero() {
		state.Attached = time.Now()
	}
	if state.Failed == "" {
		state.Failed = why.Error()
	}
	return writeState(dir, &state)
}
