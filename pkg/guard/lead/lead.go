// Package lead seeks the guard's Lease and holds it.
package lead

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// Times of the Lease: a replica that dies is replaced within LeaseDuration.
const (
	LeaseDuration = 15 * time.Second
	renewDeadline = 10 * time.Second
	RetryPeriod   = 2 * time.Second
)

// ErrLost is why a life ends whose replica does not lead any more.
var ErrLost = errors.New("the Lease is no longer held")

// Campaign seeks the Lease and holds it for a process, from one life of its Guard to the
// next: to begin again with many namespaces may take longer than a Lease lasts.
type Campaign struct {
	lock     resourcelock.Interface
	watchdog *leaderelection.HealthzAdaptor
	log      *slog.Logger

	end context.CancelFunc // nil: it does not run
	ran chan struct{}      // closed when it has ended

	mu   sync.Mutex
	term context.Context // of the Lease that was last held
	news chan struct{}   // closed when another term begins
}

func New(lock resourcelock.Interface, watchdog *leaderelection.HealthzAdaptor, log *slog.Logger) *Campaign {
	return &Campaign{lock: lock, watchdog: watchdog, log: log, news: make(chan struct{})}
}

// Begin runs it where it does not run yet.
func (c *Campaign) Begin() {
	if c.end != nil {
		return
	}
	ctx, end := context.WithCancel(context.Background())
	c.end, c.ran = end, make(chan struct{})
	go func() {
		defer close(c.ran)
		for ctx.Err() == nil {
			c.elect(ctx)
			select {
			case <-ctx.Done():
			case <-time.After(RetryPeriod):
			}
		}
	}()
}

// Runs says whether it was begun.
func (c *Campaign) Runs() bool { return c.end != nil }

// Stop ends it and gives the Lease back, so that the other replica need not wait for it.
// Whoever acted must have ended before.
func (c *Campaign) Stop() {
	if c.end == nil {
		return
	}
	c.end()
	<-c.ran
	c.end = nil
	c.resign()
}

// elect waits for the Lease and holds it for as long as it is renewed.
func (c *Campaign) elect(ctx context.Context) {
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: c.lock, LeaseDuration: LeaseDuration, RenewDeadline: renewDeadline, RetryPeriod: RetryPeriod,
		Callbacks: leaderelection.LeaderCallbacks{OnStartedLeading: c.leads, OnStoppedLeading: func() {}},
	})
	if err != nil { // of the times above: a test would have told
		c.log.Error("no leader election", "error", err)
		return
	}
	c.watchdog.SetLeaderElection(elector)
	defer c.watchdog.SetLeaderElection(nil) // an elector that has ended no longer speaks for this replica
	elector.Run(ctx)
}

// leads notes a term, which ends when the Lease is lost.
func (c *Campaign) leads(term context.Context) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.term = term
	close(c.news)
	c.news = make(chan struct{})
}

// Lead waits until the Lease is held and returns the term, nil when the context ends before.
func (c *Campaign) Lead(ctx context.Context) context.Context {
	for {
		c.mu.Lock()
		term, news := c.term, c.news
		c.mu.Unlock()
		if term != nil && term.Err() == nil {
			return term
		}
		select {
		case <-ctx.Done():
			return nil
		case <-news:
		}
	}
}

func (c *Campaign) resign() {
	ctx, cancel := context.WithTimeout(context.Background(), RetryPeriod)
	defer cancel()
	record, _, err := c.lock.Get(ctx)
	if err != nil || record.HolderIdentity != c.lock.Identity() {
		return
	}
	record.HolderIdentity, record.LeaseDurationSeconds = "", 1
	if err := c.lock.Update(ctx, *record); err != nil {
		c.log.Warn("Lease not given back", "error", err)
	}
}
