package gadget

import (
	"fmt"
	"time"

	"github.com/osc-debug/osc-debug/pkg/trace/frame"
	"github.com/osc-debug/osc-debug/sidecar/target"
)

// polledEvery is how often a polled tier looks.
const polledEvery = 100 * time.Millisecond

// polledFailures is how often in a row a look may fail.
const polledFailures = 10

// polledTier is the lowest tier of a gadget, which needs no BPF programs.
type polledTier struct {
	name, lacks string
	start       func(*target.Target) (poll, error)
}

// poll returns what happened since the last call.
type poll func() (polled, error)

// polled are records, as those of the gadget's ring buffer, and how much could not be followed.
type polled struct {
	records [][]byte
	missed  uint64
}

// startPolled starts the lowest tier of a gadget. why is why the others do not work.
func (s *Starter) startPolled(how implementation, why error) (*Running, error) {
	p, err := how.polled.start(s.target)
	if err != nil {
		return nil, fmt.Errorf("by %s: %w", how.polled.name, err)
	}
	return &Running{
		Tier: how.polled.name, Lacks: fmt.Sprintf("%s (%v)", how.polled.lacks, why),
		poll: p, decode: how.decode, facts: &facts{}, stopped: make(chan struct{}), clock: s.clock,
	}, nil
}

// readPolled passes what is polled to handle until the gadget is stopped.
func (r *Running) readPolled(handle func(raw []byte) (passed bool, err error), idle func()) (ledger frame.Ledger, err error) {
	ticker := time.NewTicker(polledEvery)
	defer ticker.Stop()
	failed := 0
	for last := false; !last; {
		select {
		case <-ticker.C:
		case <-r.stopped:
			last = true
		}
		found, err := r.poll()
		if failed++; err == nil {
			failed = 0
		} else if ledger.Missed++; failed >= polledFailures {
			return ledger, err
		}
		for _, raw := range found.records {
			ledger.Seen++
			passed, err := handle(raw)
			switch {
			case err != nil:
				ledger.Dropped++
			case passed:
				ledger.Delivered++
			default:
				ledger.Filtered++
			}
		}
		ledger.Missed += found.missed
		r.seen.Store(ledger.Seen)
		r.missed.Store(ledger.Missed)
		idle()
	}
	return ledger, nil
}
