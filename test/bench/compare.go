package main

import (
	"errors"
	"fmt"
	"sort"
	"strings"
	"time"

	"github.com/osc-debug/osc-debug/test/load"
	"github.com/osc-debug/osc-debug/test/sample"
)

// In the comparison, sessions and the same steps by hand alternate under load.
const (
	rounds         = 5
	between        = 6 * time.Second // longer than the router's reload interval
	compareRate    = 150             // requests per second
	reloadInterval = 5 * time.Second
	ownTime        = 500 * time.Millisecond
)

// roundTrip is the result of moving traffic to a sandbox and back once.
type roundTrip struct {
	first  time.Duration // from the start to the first answer of the sandbox
	own    time.Duration // part of first that is neither the pod's start nor a reload
	failed int           // requests
}

// compare measures sessions and the same steps by hand.
func (b *bench) compare() error {
	if err := b.deployExample(); err != nil {
		return err
	}
	var sessions, hands []roundTrip
	for round := range rounds + 1 {
		hand, err := b.underLoad(b.byHand)
		if err != nil {
			return fmt.Errorf("by hand: %w", err)
		}
		our, err := b.underLoad(b.session)
		if err != nil {
			return err
		}
		if round == 0 {
			continue // the first round pulls images and warms caches
		}
		fmt.Printf("round %d  first sandbox answer after %.1f s by hand, %.1f s with osc-debug (its own part %d ms); failed requests %d and %d\n",
			round, hand.first.Seconds(), our.first.Seconds(), our.own.Milliseconds(), hand.failed, our.failed)
		sessions, hands = append(sessions, our), append(hands, hand)
	}
	mine, theirs := median(sessions, func(t roundTrip) time.Duration { return t.first }), median(hands, func(t roundTrip) time.Duration { return t.first })
	own := median(sessions, func(t roundTrip) time.Duration { return t.own })
	b.judge(fmt.Sprintf("first sandbox answer, median of %d (by hand: %.1f s)", rounds, theirs.Seconds()), mine <= theirs+reloadInterval,
		fmt.Sprintf("%.1f s, ratio %.2f", mine.Seconds(), mine.Seconds()/theirs.Seconds()), fmt.Sprintf("<= by hand + %g s", reloadInterval.Seconds()))
	b.judge("part of it that is neither pod start nor reload, median", own <= ownTime, own.Round(time.Millisecond).String(), "<= "+ownTime.String())
	b.judge(fmt.Sprintf("failed requests (by hand: %d)", failed(hands)), failed(sessions) == 0, fmt.Sprint(failed(sessions)), "0")
	return nil
}

// underLoad measures one round trip under its own load. The load continues for a while, so that
// every request that fails because of the round trip is counted.
func (b *bench) underLoad(take func(*load.Run) (roundTrip, error)) (roundTrip, error) {
	no := false
	config := sample.Load(compareRate)
	config.Cookies = &no
	run := load.Start(config)
	t, err := take(run)
	time.Sleep(between)
	t.failed = run.Stop().Failed
	return t, err
}

// median returns the median of a duration in several round trips.
func median(turns []roundTrip, of func(roundTrip) time.Duration) time.Duration {
	var all []time.Duration
	for _, t := range turns {
		all = append(all, of(t))
	}
	sort.Slice(all, func(i, j int) bool { return all[i] < all[j] })
	return all[len(all)/2]
}

// failed returns the number of failed requests in several round trips.
func failed(turns []roundTrip) (n int) {
	for _, t := range turns {
		n += t.failed
	}
	return n
}

// The kubectl commands by hand, as in examples/http-echo/manifests/sandbox-by-hand.yaml.
var (
	byHandFile  = "examples/http-echo/manifests/sandbox-by-hand.yaml"
	byHandThere = [][]string{
		{"apply", "-f", byHandFile},
		{"wait", "-n", sample.Namespace, "--for=condition=Ready", "pod/echo-kata", "--timeout=120s"},
		{"patch", "-n", sample.Namespace, "route", "echo-route", "--type=merge", "-p",
			`{"spec":{"to":{"weight":0},"alternateBackends":[{"kind":"Service","name":"echo-kata","weight":100}]}}`},
	}
	byHandBack = [][]string{
		{"patch", "-n", sample.Namespace, "route", "echo-route", "--type=merge", "-p", `{"spec":{"to":{"weight":100},"alternateBackends":null}}`},
		{"delete", "-f", byHandFile},
	}
)

// byHand measures one round trip by hand.
func (b *bench) byHand(run *load.Run) (roundTrip, error) {
	begin := time.Now()
	for _, args := range byHandThere {
		if _, err := b.Kubectl(b.ctx, args...); err != nil {
			return roundTrip{}, err
		}
	}
	if err := b.waitForAnswer(run, "pod=echo-kata"); err != nil {
		return roundTrip{}, err
	}
	first := time.Since(begin)
	time.Sleep(2 * time.Second)
	for _, args := range byHandBack {
		if _, err := b.Kubectl(b.ctx, args...); err != nil {
			return roundTrip{}, err
		}
	}
	return roundTrip{first: first}, nil
}

// session measures one round trip of a session.
func (b *bench) session(run *load.Run) (roundTrip, error) {
	watched, err := b.watchSession()
	if err != nil {
		return roundTrip{}, err
	}
	begin := time.Now()
	answered := make(chan error, 1)
	var first time.Duration
	go func() {
		err := b.waitForAnswer(run, "pod="+namePrefix)
		first = time.Since(begin)
		answered <- err
	}()
	cmd, err := b.startSession("--weight", "100", "--exact")
	live := time.Now()
	seen, watchErr := watched()
	if err := errors.Join(err, <-answered, watchErr); err != nil {
		return roundTrip{}, err
	}
	time.Sleep(2 * time.Second)
	if err := endSession(cmd); err != nil {
		return roundTrip{}, err
	}
	own := seen.created.Sub(begin) + seen.shifted.Sub(seen.reached) + live.Sub(seen.served)
	return roundTrip{first: first, own: own}, nil
}

// waitForAnswer waits for the first response whose body contains pod, such as "pod=echo-kata".
func (b *bench) waitForAnswer(run *load.Run, pod string) error {
	for end := time.Now().Add(3 * time.Minute); time.Now().Before(end) && b.ctx.Err() == nil; time.Sleep(20 * time.Millisecond) {
		for body := range run.Sums().Bodies {
			if strings.Contains(body, pod) {
				return nil
			}
		}
	}
	return fmt.Errorf("no answer from %s", strings.TrimPrefix(pod, "pod="))
}
