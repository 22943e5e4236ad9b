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

// example brings up the example with a guard that stands by.
func (b *bench) example() error {
	if _, err := b.Deploy(b.ctx); err != nil {
		return err
	}
	return b.InstallGuard(b.ctx, []string{sample.Namespace})
}

// begin starts a session and returns when it is live; b.said has what it told when it has ended.
func (b *bench) begin(args ...string) (*exec.Cmd, error) {
	cmd := b.Command(b.ctx, append([]string{"shift", "--route", "echo-route", "--router", sample.Router}, args...)...)
	progress, told, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd.Stderr = told
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	_ = told.Close()
	live := make(chan string, 1)
	said := make(chan []string, 1)
	b.said = said
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
		said <- lines
		select {
		case live <- strings.Join(lines, "\n"):
		default: // it was live
		}
	}()
	if last := <-live; last != "" {
		return nil, fmt.Errorf("the session did not become live: %s", last)
	}
	return cmd, nil
}

// end interrupts a session, which is its normal end.
func end(cmd *exec.Cmd) error {
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		return err
	}
	return cmd.Wait()
}

// status is what the command says of the session.
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

// detached begins a session that the guard sees to, and returns its ID.
func (b *bench) detached(args ...string) (string, error) {
	args = append([]string{"shift", "--route", "echo-route", "--router", sample.Router, "--weight", "100", "--detach"}, args...)
	if out, err := b.Command(b.ctx, args...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("osc-debug %v: %w: %s", args, err, out)
	}
	s, err := b.status()
	return s.Session, err
}

// rollback ends the session.
func (b *bench) rollback() error {
	if out, err := b.Command(b.ctx, "rollback", "--route", "echo-route", "--router", sample.Router).CombinedOutput(); err != nil {
		return fmt.Errorf("osc-debug rollback: %w: %s", err, out)
	}
	return nil
}

// clean fails unless the Route is as the example has it and nothing of a session is left.
func (b *bench) clean() error {
	route, err := b.Kubectl(b.ctx, "get", "route", "echo-route", "-n", sample.Namespace, "--show-managed-fields", "-o", "jsonpath={.spec.to.weight} {.spec.alternateBackends} {.metadata.labels.osc-debug\\.dev/session} {.metadata.annotations.osc-debug\\.dev/journal} {.metadata.managedFields[?(@.manager=='osc-debug')].operation}")
	if err != nil {
		return err
	}
	left, err := b.Kubectl(b.ctx, "get", "pods,services,poddisruptionbudgets,networkpolicies", "-n", sample.Namespace, "-l", "osc-debug.dev/session", "-o", "name")
	if err != nil {
		return err
	}
	if strings.TrimSpace(route) != "100" || strings.TrimSpace(left) != "" {
		return fmt.Errorf("the Route is %q, left are %q", route, left)
	}
	return nil
}

// cleanWithin waits for that.
func (b *bench) cleanWithin(wait time.Duration) error {
	var err error
	for end := time.Now().Add(wait); time.Now().Before(end); time.Sleep(time.Second) {
		if err = b.clean(); err == nil {
			return nil
		}
	}
	return err
}
