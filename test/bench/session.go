package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/osc-debug/osc-debug/test/sample"
)

// deployExample deploys the example application and a guard that covers it.
func (b *bench) deployExample() error {
	if _, err := b.Deploy(b.ctx); err != nil {
		return err
	}
	return b.InstallGuard(b.ctx, []string{sample.Namespace})
}

// startSession starts a session and waits until it is live. b.output gets the command's output when
// the command has ended.
func (b *bench) startSession(args ...string) (*exec.Cmd, error) {
	cmd := b.Command(b.ctx, append([]string{"shift", "--route", "echo-route", "--router", sample.Router}, args...)...)
	progress, stderr, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd.Stderr = stderr
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	_ = stderr.Close()
	live := make(chan string, 1)
	output := make(chan []string, 1)
	b.output = output
	go func() {
		defer progress.Close()
		var lines []string
		for s := bufio.NewScanner(progress); s.Scan(); {
			lines = append(lines, s.Text())
			if strings.Contains(s.Text(), "  live ") {
				select {
				case live <- "":
				default:
				}
			}
		}
		output <- lines
		select {
		case live <- strings.Join(lines, "\n"):
		default: // the session was live before
		}
	}()
	if last := <-live; last != "" {
		return nil, fmt.Errorf("the session did not become live: %s", last)
	}
	return cmd, nil
}

// endSession ends a session in the normal way: it interrupts the command and waits for it.
func endSession(cmd *exec.Cmd) error {
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		return err
	}
	return cmd.Wait()
}

// status is a session as 'osc-debug status' shows it; shares are in percent.
type status struct {
	Session, State string
	Asked          float64
	Realised       float64
}

func (b *bench) status() (status, error) {
	out, err := b.Command(b.ctx, "status", "--route", "echo-route", "-o", "json").Output()
	if err != nil {
		return status{}, err
	}
	var list struct{ Sessions []status }
	if err := json.Unmarshal(out, &list); err != nil {
		return status{}, err
	}
	if len(list.Sessions) != 1 {
		return status{}, fmt.Errorf("status lists %d sessions", len(list.Sessions))
	}
	return list.Sessions[0], nil
}

func (b *bench) realised() (float64, error) {
	s, err := b.status()
	return s.Realised, err
}

// startDetached starts a detached session, which only the guard watches, and returns its ID.
func (b *bench) startDetached(args ...string) (string, error) {
	args = append([]string{"shift", "--route", "echo-route", "--router", sample.Router, "--weight", "100", "--detach"}, args...)
	if out, err := b.Command(b.ctx, args...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("osc-debug %v: %w: %s", args, err, out)
	}
	s, err := b.status()
	return s.Session, err
}

// rollback ends the session with 'osc-debug rollback'.
func (b *bench) rollback() error {
	if out, err := b.Command(b.ctx, "rollback", "--route", "echo-route", "--router", sample.Router).CombinedOutput(); err != nil {
		return fmt.Errorf("osc-debug rollback: %w: %s", err, out)
	}
	return nil
}

// checkClean returns an error unless the Route is as in the example and nothing of a session is left.
func (b *bench) checkClean() error {
	route, err := b.Kubectl(b.ctx, "get", "route", "echo-route", "-n", sample.Namespace, "--show-managed-fields", "-o", "jsonpath={.spec.to.weight} {.spec.alternateBackends} {.metadata.labels.osc-debug\\.dev/session} {.metadata.annotations.osc-debug\\.dev/journal} {.metadata.managedFields[?(@.manager=='osc-debug')].operation}")
	if err != nil {
		return err
	}
	left, err := b.Kubectl(b.ctx, "get", "pods,services,poddisruptionbudgets,networkpolicies", "-n", sample.Namespace, "-l", "osc-debug.dev/session", "-o", "name")
	if err != nil {
		return err
	}
	if strings.TrimSpace(route) != "100" || strings.TrimSpace(left) != "" {
		return fmt.Errorf("the Route is %q; objects left: %q", route, left)
	}
	return nil
}

// waitForClean waits until checkClean returns nil, or returns its last error.
func (b *bench) waitForClean(wait time.Duration) error {
	var err error
	for end := time.Now().Add(wait); time.Now().Before(end); time.Sleep(time.Second) {
		if err = b.checkClean(); err == nil {
			return nil
		}
	}
	return err
}
