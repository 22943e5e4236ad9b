package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"syscall"

	"github.com/osc-debug/osc-debug/test/sample"
)

// example brings up the example with a guard that stands by.
func (b *bench) example() error {
	if _, err := b.Deploy(b.ctx); err != nil {
		return err
	}
	return b.InstallGuard(b.ctx, []string{sample.Namespace})
}

// begin starts a session and returns when it is live.
func (b *bench) begin(args ...string) (*exec.Cmd, error) {
	cmd := b.Command(b.ctx, append([]string{"shift", "--route", "echo-route", "--router", sample.Router}, args...)...)
	progress, err := cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	live := make(chan string, 1)
	go func() {
		var last string
		for s := bufio.NewScanner(progress); s.Scan(); {
			last = s.Text()
			if strings.Contains(last, "  live ") {
				live <- ""
			}
		}
		live <- last
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

func (b *bench) realised() (float64, error) {
	out, err := b.Command(b.ctx, "status", "--route", "echo-route", "-o", "json").Output()
	if err != nil {
		return 0, err
	}
	var list struct{ Sessions []struct{ Realised float64 } }
	if err := json.Unmarshal(out, &list); err != nil {
		return 0, err
	}
	if len(list.Sessions) != 1 {
		return 0, fmt.Errorf("status lists %d sessions", len(list.Sessions))
	}
	return list.Sessions[0].Realised, nil
}
