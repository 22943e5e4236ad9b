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

// The comparison: sessions and the same steps by hand take turns under a load.
const (
	rounds         = 5
	between        = 6 * time.Second // over the router's reload interval
	compareRate    = 150
	reloadInterval = 5 * time.Second
	ownTime        = 500 * time.Millisecond
)

// turn is one way there and back.
type turn struct {
	first  time.Duration // from the command to the first answer of the sandbox
	own    time.Duration // of the way there, what was neither pod start nor reload
	failed int
}

func (b *bench) compare() error {
	if err := b.example(); err != nil {
		return err
	}
	var sessions, hands []turn
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
			continue // pulls images and warms caches
		}
		fmt.Printf("round %d  first sandbox answer after %.1f s by hand, %.1f s by osc-debug (%d ms its own); failed requests %d and %d\n",
			round, hand.first.Seconds(), our.first.Seconds(), our.own.Milliseconds(), hand.failed, our.failed)
		sessions, hands = append(sessions, our), append(hands, hand)
	}
	mine, theirs := median(sessions, func(t turn) time.Duration { return t.first }), median(hands, func(t turn) time.Duration { return t.first })
	own := median(sessions, func(t turn) time.Duration { return t.own })
	b.judge(fmt.Sprintf("first sandbox answer, median of %d (by hand: %.1f s)", rounds, theirs.Seconds()), mine <= theirs+reloadInterval,
		fmt.Sprintf("%.1f s, ratio %.2f", mine.Seconds(), mine.Seconds()/theirs.Seconds()), fmt.Sprintf("<= by hand + %g s", reloadInterval.Seconds()))
	b.judge("of that neither pod start nor reload, median", own <= ownTime, own.Round(time.Millisecond).String(), "<= "+ownTime.String())
	b.judge(fmt.Sprintf("requests failed (by hand: %d)", failed(hands)), failed(sessions) == 0, fmt.Sprint(failed(sessions)), "0")
	return nil
}

// underLoad takes a turn under a load of its own, which goes on for a while, so that
// every request that the turn harmed is counted with it.
func (b *bench) underLoad(take func(*load.Run) (turn, error)) (turn, error) {
	no := false
	config := sample.Load(compareRate)
	config.Cookies = &no
	run := load.Start(config)
	t, err := take(run)
	time.Sleep(between)
	t.failed = run.Stop().Failed
	return t, err
}

func median(turns []turn, of func(turn) time.Duration) time.Duration {
	var all []time.Duration
	for _, t := range turns {
		all = append(all, of(t))
	}
	sort.Slice(all, func(i, j int) bool { return all[i] < all[j] })
	return all[len(all)/2]
}

func failed(turns []turn) (n int) {
	for _, t := range turns {
		n += t.failed
	}
	return n
}

// steps are those of examples/http-echo/manifests/sandbox-by-hand.yaml.
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

func (b *bench) byHand(run *load.Run) (turn, error) {
	begin := time.Now()
	for _, args := range byHandThere {
		if _, err := b.Kubectl(b.ctx, args...); err != nil {
			return turn{}, err
		}
	}
	if err := b.answered(run, "pod=echo-kata"); err != nil {
		return turn{}, err
	}
	first := time.Since(begin)
	time.Sleep(2 * time.Second)
	for _, args := range byHandBack {
		if _, err := b.Kubectl(b.ctx, args...); err != nil {
			return turn{}, err
		}
	}
	return turn{first: first}, nil
}

func (b *bench) session(run *load.Run) (turn, error) {
	watched, err := b.watchWaits()
	if err != nil {
		return turn{}, err
	}
	begin := time.Now()
	answered := make(chan error, 1)
	var first time.Duration
	go func() {
		err := b.answered(run, "pod="+ours)
		first = time.Since(begin)
		answered <- err
	}()
	cmd, err := b.begin("--weight", "100", "--exact")
	live := time.Now()
	seen, watchErr := watched()
	if err := errors.Join(err, <-answered, watchErr); err != nil {
		return turn{}, err
	}
	time.Sleep(2 * time.Second)
	if err := end(cmd); err != nil {
		return turn{}, err
	}
	own := seen.created.Sub(begin) + seen.shifted.Sub(seen.reached) + live.Sub(seen.served)
	return turn{first: first, own: own}, nil
}

// answered waits for the first answer of a pod.
func (b *bench) answered(run *load.Run, pod string) error {
	for end := time.Now().Add(3 * time.Minute); time.Now().Before(end) && b.ctx.Err() == nil; time.Sleep(20 * time.Millisecond) {
		for body := range run.Sums().Bodies {
			if strings.Contains(body, pod) {
				return nil
			}
		}
	}
	return fmt.Errorf("no answer of %s", strings.TrimPrefix(pod, "pod="))
}
