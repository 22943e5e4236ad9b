// Package tracer runs gadgets for one client, as long as the client is connected. When the client's
// stream ends, or there was no heartbeat for a minute, it detaches everything and returns, so that
// nothing keeps tracing after a connection breaks.
package tracer

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/osc-debug/osc-debug/pkg/trace/frame"
	describe "github.com/osc-debug/osc-debug/pkg/trace/gadget"
	"github.com/osc-debug/osc-debug/sidecar/gadget"
	"github.com/osc-debug/osc-debug/sidecar/target"
)

// Request says what to trace. The command line has validated it, but the tracer runs as root and
// validates it again.
type Request struct {
	Gadgets       []string      // names
	Filters       []string      // that an event must pass all; see the description of gadgets
	ContainerID   string        // runtime ID, 64 hex digits
	ContainerName string        // name in the pod
	SlowerThan    time.Duration // threshold of gadget slow
}

var (
	validID   = regexp.MustCompile(`^[0-9a-f]{64}$`)
	validName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)
)

var errNegative = errors.New("the threshold of slow calls must not be negative")

// maxFilters is how many filters a request may have.
const maxFilters = 16

// validate returns the gadgets and filters of a request, or what is wrong with it.
func (r Request) validate() ([]describe.Gadget, describe.Filters, error) {
	if len(r.Gadgets) == 0 {
		return nil, nil, errors.New("no gadget given: must be some of " + describe.List())
	}
	described, err := describe.Lookup(r.Gadgets)
	if err != nil {
		return nil, nil, err
	}
	if len(r.Filters) > maxFilters {
		return nil, nil, fmt.Errorf("%d filters, may be %d", len(r.Filters), maxFilters)
	}
	filters, err := describe.ParseFilters(r.Filters, described)
	if err != nil {
		return nil, nil, err
	}
	if r.SlowerThan < 0 {
		return nil, nil, errNegative
	}
	if !validID.MatchString(r.ContainerID) || !validName.MatchString(r.ContainerName) {
		return nil, nil, errInvalidContainer
	}
	return described, filters, nil
}

// Run traces and writes frames to out until in ends, there is no heartbeat for HeartbeatLimit, or the
// context ends. A gadget that cannot be started only gets the status "unavailable", unless all fail.
func Run(ctx context.Context, r Request, in io.Reader, out io.Writer) error {
	described, filters, err := r.validate()
	if err != nil {
		return err
	}
	t, err := target.Find("/proc", r.ContainerID, r.ContainerName)
	if err != nil {
		return err
	}
	buffer := bufio.NewWriterSize(out, 64<<10)
	s := &stream{buffer: buffer, filters: filters}
	var running []*gadget.Running
	var readers sync.WaitGroup
	var failed error
	starter, err := gadget.NewStarter(t)
	if err != nil {
		return err
	}
	starter.SlowerThan = r.SlowerThan
	for _, d := range described {
		g, status := start(starter, d)
		if g == nil {
			failed = errors.Join(failed, errors.New(status.Reason))
		} else {
			status.Reason = strings.TrimSuffix("container found by "+t.FoundBy+"; "+status.Reason, "; ")
		}
		if err := s.send(frame.Frame{Kind: frame.KindGadget, Gadget: d.Name, Status: &status}); err != nil {
			s.addError(err)
		}
		if g != nil {
			running = append(running, g)
			readers.Go(func() { s.sendGadget(g) })
		}
	}
	s.flush()
	if len(running) == 0 {
		return failed
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	clocks, stopClocks := context.WithCancel(ctx)
	defer stopClocks()
	watchClock := starter.WatchClock(clocks, func(by time.Duration) {
		s.note(fmt.Sprintf("the clock was set by %+d ms", by.Milliseconds()))
	})
	starter.DropTypes()
	readers.Go(func() {
		if err := watchClock(); err != nil {
			s.note("the times of events may be wrong if the clock is set: " + err.Error())
		}
	})
	go func() { cancel(watchHeartbeats(ctx, in)) }() // a blocked read cannot be cancelled: it ends with the process
	<-ctx.Done()
	if err := stopAll(running); err != nil {
		s.addError(err)
	}
	readers.Wait()
	return s.failed
}

// stopAll stops gadgets, all at once: the kernel waits for all CPUs when it detaches a program.
func stopAll(running []*gadget.Running) error {
	failed := make([]error, len(running))
	var stopping sync.WaitGroup
	for i, g := range running {
		stopping.Go(func() { failed[i] = g.Stop() })
	}
	stopping.Wait()
	return errors.Join(failed...)
}

// watchHeartbeats blocks while the client sends heartbeats, and returns why it stopped.
func watchHeartbeats(ctx context.Context, in io.Reader) error {
	beats := make(chan struct{})
	go func() {
		defer close(beats)
		for s := bufio.NewScanner(in); s.Scan(); {
			select {
			case beats <- struct{}{}:
			case <-ctx.Done():
				return
			}
		}
	}()
	for {
		select {
		case _, ok := <-beats:
			if !ok {
				return errors.New("the client's stream ended")
			}
		case <-time.After(frame.HeartbeatLimit):
			return fmt.Errorf("no heartbeat for %s", frame.HeartbeatLimit)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// stream numbers frames and writes them, one at a time.
type stream struct {
	mu      sync.Mutex
	buffer  *bufio.Writer
	filters describe.Filters
	seq     uint64
	failed  error
}

func (s *stream) send(f frame.Frame) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seq++
	f.Seq = s.seq
	err := json.NewEncoder(s.buffer).Encode(f)
	if err != nil {
		s.seq-- // nothing was written
	}
	return err
}

// sendEvent sends an event: nearly all frames are events.
func (s *stream) sendEvent(e *describe.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	line, err := frame.AppendEvent(s.buffer.AvailableBuffer(), s.seq+1, e)
	if err != nil {
		return err
	}
	s.seq++
	_, err = s.buffer.Write(line)
	return err
}

// flush writes what is buffered. Gadgets call it when they have no more events at the moment.
func (s *stream) flush() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.buffer.Flush(); err != nil && s.failed == nil {
		s.failed = err
	}
}

// note sends a note to the client.
func (s *stream) note(text string) {
	if err := s.send(frame.Frame{Kind: frame.KindNote, Note: text}); err != nil {
		s.addError(err)
	}
	s.flush()
}

func (s *stream) addError(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed = errors.Join(s.failed, err)
}

// sendGadget sends a gadget's events and, when the gadget stops, its ledger.
func (s *stream) sendGadget(g *gadget.Running) {
	ledger, err := g.Read(func(e *describe.Event) (bool, error) {
		if !s.filters.Match(g.Gadget, e) {
			return false, nil
		}
		return true, s.sendEvent(e)
	}, s.flush)
	if err != nil {
		s.addError(err)
	}
	if err := s.send(frame.Frame{Kind: frame.KindLedger, Gadget: g.Name, Ledger: &ledger}); err != nil {
		s.addError(err)
	}
	s.flush()
}
