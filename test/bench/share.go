package main

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/osc-debug/osc-debug/test/haproxy"
	"github.com/osc-debug/osc-debug/test/load"
	"github.com/osc-debug/osc-debug/test/sample"
)

const (
	shareOf       = 20.0  // requested share, in percent
	shareRequests = 10000 // number of new clients
	shareError    = 1.5   // allowed deviation, in percentage points
)

// shares measures the sandbox's share beside one to three original pods.
func (b *bench) shares() error {
	if err := b.deployExample(); err != nil {
		return err
	}
	for originals := 1; originals <= 3; originals++ {
		if err := b.share(originals); err != nil {
			return err
		}
	}
	return nil
}

// share counts how many clients without cookies the sandbox answers.
func (b *bench) share(originals int) error {
	for _, args := range [][]string{
		{"scale", "-n", sample.Namespace, "deployment/echo-runc", fmt.Sprintf("--replicas=%d", originals)},
		{"rollout", "status", "-n", sample.Namespace, "deployment/echo-runc", "--timeout=60s"},
	} {
		if _, err := b.Kubectl(b.ctx, args...); err != nil {
			return err
		}
	}
	cmd, err := b.startSession("--weight", fmt.Sprint(shareOf))
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
	servers, err := haproxy.Servers(b.State, sample.Namespace, "echo-route")
	if err != nil {
		return err
	}
	if err := endSession(cmd); err != nil {
		return err
	}
	sandbox := 0
	for body, n := range sums.Bodies {
		if strings.Contains(body, "pod="+namePrefix) {
			sandbox += n
		}
	}
	got := 100 * float64(sandbox) / float64(sums.OK)
	weights := 100 * haproxy.Share(servers, namePrefix)
	b.judge(fmt.Sprintf("share by HAProxy's weights beside %d original pod(s)", originals), math.Abs(weights-realised) < 0.01,
		fmt.Sprintf("%.2f %% (status: %.2f %%)", weights, realised), "the same")
	b.judge(fmt.Sprintf("--weight %g beside %d original pod(s), %d requests (%d failed)", shareOf, originals, sums.Total(), sums.Failed),
		sums.Failed == 0 && math.Abs(got-realised) <= shareError,
		fmt.Sprintf("%.2f %% (status: %.2f %%)", got, realised), fmt.Sprintf("+- %.1f points", shareError))
	return nil
}
