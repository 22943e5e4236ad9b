// Command bench takes the project's figures on the local cluster and prints each with
// its target and verdict; it exits 1 on a miss. 'bench soak' is the long run.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"sort"
	"strings"
	"syscall"
	"time"

	"github.com/osc-debug/osc-debug/test/load"
	"github.com/osc-debug/osc-debug/test/sample"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	b := &bench{ctx: ctx}
	var err error
	if b.Cluster, err = sample.FromEnvironment(); err == nil {
		if len(os.Args) > 1 && os.Args[1] == "soak" {
			err = b.soak()
		} else {
			err = b.figures()
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	if b.missed {
		os.Exit(1)
	}
}

type bench struct {
	sample.Cluster
	ctx    context.Context
	missed bool
}

// judge prints a figure and remembers a miss.
func (b *bench) judge(what string, ok bool, got, target string) {
	verdict := "met"
	if !ok {
		verdict, b.missed = "MISSED", true
	}
	fmt.Printf("%-62s %-26s target %-18s %s\n", what, got, target, verdict)
}

func (b *bench) figures() error {
	if err := b.program(); err != nil {
		return err
	}
	if _, err := b.Deploy(b.ctx); err != nil {
		return err
	}
	for originals := 1; originals <= 3; originals++ {
		if err := b.share(originals); err != nil {
			return err
		}
	}
	return nil
}

// program measures the command itself.
func (b *bench) program() error {
	info, err := os.Stat(b.CLI)
	if err != nil {
		return err
	}
	mib := float64(info.Size()) / (1 << 20)
	b.judge("size of the stripped command", mib <= 60, fmt.Sprintf("%.1f MB", mib), "<= 60 MB")
	var times []time.Duration
	for range 21 {
		begin := time.Now()
		if err := exec.CommandContext(b.ctx, b.CLI, "version").Run(); err != nil {
			return err
		}
		times = append(times, time.Since(begin))
	}
	sort.Slice(times, func(i, j int) bool { return times[i] < times[j] })
	median := times[len(times)/2]
	b.judge("osc-debug version, median of 21", median <= 60*time.Millisecond, median.Round(time.Millisecond).String(), "<= 60ms")
	return nil
}

// shareOf and shareRequests: what is asked for and how many new clients are counted.
const (
	shareOf       = 20.0
	shareRequests = 10000
	shareError    = 1.5 // points
)

// share counts which side answers clients without cookies.
func (b *bench) share(originals int) error {
	for _, args := range [][]string{
		{"scale", "-n", sample.Namespace, "deployment/echo-runc", fmt.Sprintf("--replicas=%d", originals)},
		{"rollout", "status", "-n", sample.Namespace, "deployment/echo-runc", "--timeout=60s"},
	} {
		if _, err := b.Kubectl(b.ctx, args...); err != nil {
			return err
		}
	}
	cmd, err := b.begin("--weight", fmt.Sprint(shareOf))
	if err != nil {
		return err
	}
	realised, err := b.realised()
	if err != nil {
		return err
	}
	no, yes := false, true
	config := sample.Load(500)
	config.Cookies, config.KeepAlive = &no, &yes
	run := load.Start(config)
	for run.Sums().Total() < shareRequests && b.ctx.Err() == nil {
		time.Sleep(50 * time.Millisecond)
	}
	sums := run.Stop()
	if err := end(cmd); err != nil {
		return err
	}
	sandbox := 0
	for body, n := range sums.Bodies {
		if strings.Contains(body, "pod=osc-debug-") {
			sandbox += n
		}
	}
	got := 100 * float64(sandbox) / float64(sums.OK)
	b.judge(fmt.Sprintf("--weight %g beside %d original(s), %d requests (%d failed)", shareOf, originals, sums.Total(), sums.Failed),
		sums.Failed == 0 && got-realised < shareError && realised-got < shareError,
		fmt.Sprintf("%.2f %% (status: %.2f %%)", got, realised), fmt.Sprintf("+- %.1f points", shareError))
	return nil
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

// soakSessions and soakRate: ten sessions in a row under this many requests a second.
const (
	soakSessions = 10
	soakRate     = 500
)

func (b *bench) soak() error {
	if _, err := b.Deploy(b.ctx); err != nil {
		return err
	}
	run := load.Start(sample.Load(soakRate + soakRate/8))
	defer run.Stop()
	for n := 1; n <= soakSessions; n++ {
		cmd, err := b.begin("--weight", "100", "--exact")
		if err != nil {
			return err
		}
		time.Sleep(2 * time.Second)
		if err := end(cmd); err != nil {
			return err
		}
		fmt.Printf("session %2d  %s, %.0f requests/s\n", n, run.Sums(), run.Rate())
	}
	rate := run.Rate()
	sums := run.Stop()
	b.judge(fmt.Sprintf("%d sessions 0 -> 100 -> 0: failed of %d requests", soakSessions, sums.Total()), sums.Failed == 0, fmt.Sprint(sums.Failed), "0")
	b.judge("requests a second meanwhile", rate >= soakRate, fmt.Sprintf("%.0f", rate), fmt.Sprintf(">= %d", soakRate))
	return nil
}
