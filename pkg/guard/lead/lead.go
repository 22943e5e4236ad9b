// Package lead acquires the guard's Lease and keeps it.
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

// Times of the Lease. If the leading replica dies, another one leads after about LeaseDuration.
const (
	LeaseDuration = 15 * time.Second // validity of the Lease after each renewal
	renewDeadline = 10 * time.Second // the leader stops acting if it could not renew for so long
	RetryPeriod   = 2 * time.Second  // between attempts to acquire or renew the Lease
)

// ErrLost is the cause of a context that ends because this replica no longer holds the Lease.
var ErrLost = errors.New("the Lease is no longer held")

// Campaign acquires and keeps the Lease for a process. It runs on while the process restarts its
// Guard, because a restart with many namespaces can take longer than LeaseDuration. Start, Running and
// Stop must be called from one goroutine.
type Campaign struct {
	lock     resourcelock.Interface
	watchdog *leaderelection.HealthzAdaptor
	log      *slog.Logger

	cancel context.CancelFunc // nil: not running
	done   chan struct{}      // closed when the campaign has ended

	mu          sync.Mutex
	term        context.Context // of the last acquisition of the Lease; ends when the Lease is lost
	termStarted chan struct{}   // closed when the next term starts
}

// New returns a Campaign that is not running. watchdog fails when this replica leads but could not
// renew the Lease for too long.
func New(lock resourcelock.Interface, watchdog *leaderelection.HealthzAdaptor, log *slog.Logger) *Campaign {
	return &Campaign{lock: lock, watchdog: watchdog, log: log, termStarted: make(chan struct{})}
}

// Start starts the campaign unless it is running.
func (c *Campaign) Start() {
	if c.cancel != nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	c.cancel, c.done = cancel, make(chan struct{})
	go func() {
		defer close(c.done)
		for ctx.Err() == nil {
			c.elect(ctx)
			select {
			case <-ctx.Done():
			case <-time.After(RetryPeriod):
			}
		}
	}()
}

// Running reports whether the campaign has been started and not stopped.
func (c *Campaign) Running() bool { return c.cancel != nil }

// Stop ends the campaign and releases the Lease, so that another replica need not wait until it
// expires. The caller must have stopped acting before.
func (c *Campaign) Stop() {
	if c.cancel == nil {
		return
	}
	c.cancel()
	<-c.done
	c.cancel = nil
	c.releaseLease()
}

// elect waits for the Lease and keeps it until it cannot be renewed or the context ends.
func (c *Campaign) elect(ctx context.Context) {
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: c.lock, LeaseDuration: LeaseDuration, RenewDeadline: renewDeadline, RetryPeriod: RetryPeriod,
		Callbacks: leaderelection.LeaderCallbacks{OnStartedLeading: c.startTerm, OnStoppedLeading: func() {}},
	})
	if err != nil { // only for invalid constants above, which every test would show
		c.log.Error("cannot start leader election", "error", err)
		return
	}
	c.watchdog.SetLeaderElection(elector)
	defer c.watchdog.SetLeaderElection(nil) // an elector that has ended says nothing about this replica's health
	elector.Run(ctx)
}

// startTerm records a term and wakes the callers of WaitForTerm. The term ends when the Lease is lost.
func (c *Campaign) startTerm(term context.Context) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.term = term
	close(c.termStarted)
	c.termStarted = make(chan struct{})
}

// WaitForTerm waits until this replica holds the Lease and returns the term, a context that ends when
// the Lease is lost. It returns nil if ctx ends first.
func (c *Campaign) WaitForTerm(ctx context.Context) context.Context {
	for {
		c.mu.Lock()
		term, started := c.term, c.termStarted
		c.mu.Unlock()
		if term != nil && term.Err() == nil {
			return term
		}
		select {
		case <-ctx.Done():
			return nil
		case <-started:
		}
	}
}

// releaseLease clears the holder of the Lease if that is this replica.
func (c *Campaign) releaseLease() {
	ctx, cancel := context.WithTimeout(context.Background(), RetryPeriod)
	defer cancel()
	record, _, err := c.lock.Get(ctx)
	if err != nil || record.HolderIdentity != c.lock.Identity() {
		return
	}
	record.HolderIdentity, record.LeaseDurationSeconds = "", 1
	if err := c.lock.Update(ctx, *record); err != nil {
		c.log.Warn("cannot release the Lease", "error", err)
	}
}
