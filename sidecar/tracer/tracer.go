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
	"sync"
	"time"

	"github.com/osc-debug/osc-debug/pkg/trace/frame"
	"github.com/osc-debug/osc-debug/sidecar/gadget"
	"github.com/osc-debug/osc-debug/sidecar/target"
)

// Request says what to trace. The command line has validated it, but the tracer runs as root and
// validates it again.
type Request struct {
	Gadgets       []string // names
	ContainerID   string   // runtime ID, 64 hex digits
	ContainerName string   // name in the pod
}

var (
	validID   = regexp.MustCompile(`^[0-9a-f]{64}$`)
	validName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)
)

func (r Request) validate() error {
	if len(r.Gadgets) == 0 {
		return errors.New("no gadget given: must be some of " + frame.GadgetNames())
	}
	if _, err := frame.Lookup(r.Gadgets); err != nil {
		return err
	}
	if !validID.MatchString(r.ContainerID) || !validName.MatchString(r.ContainerName) {
		return errors.New("the container's ID or name is invalid")
	}
	return nil
}

// Run traces and writes frames to out until in ends, there is no heartbeat for HeartbeatLimit, or the
// context ends. A gadget that cannot be started only gets the status "unavailable", unless all fail.
func Run(ctx context.Context, r Request, in io.Reader, out io.Writer) error {
	if err := r.validate(); err != nil {
		return err
	}
	t, err := target.Find("/proc", r.ContainerID, r.ContainerName)
	if err != nil {
		return err
	}
	buffer := bufio.NewWriterSize(out, 64<<10)
	s := &stream{buffer: buffer, encoder: json.NewEncoder(buffer)}
	var running []*gadget.Running
	var readers sync.WaitGroup
	var failed error
	for _, name := range r.Gadgets {
		g, err := gadget.Start(name, t)
		status := &frame.Status{State: frame.Works, Reason: "container found by " + t.FoundBy}
		if err != nil {
			status = &frame.Status{State: frame.Unavailable, Reason: err.Error()}
			failed = errors.Join(failed, err)
		}
		if err := s.send(frame.Frame{Kind: frame.KindGadget, Gadget: name, Status: status}); err != nil {
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
	go func() { cancel(watchHeartbeats(ctx, in)) }() // a blocked read cannot be cancelled: it ends with the process
	<-ctx.Done()
	for _, g := range running {
		if err := g.Stop(); err != nil {
			s.addError(err)
		}
	}
	readers.Wait()
	return s.failed
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
	encoder *json.Encoder
	seq     uint64
	failed  error
}

func (s *stream) send(f frame.Frame) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seq++
	f.Seq = s.seq
	err := s.encoder.Encode(f)
	if err != nil {
		s.seq-- // nothing was written
	}
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

func (s *stream) addError(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed = errors.Join(s.failed, err)
}

// sendGadget sends a gadget's events and, when the gadget stops, its ledger.
func (s *stream) sendGadget(g *gadget.Running) {
	ledger, err := g.Read(func(e *frame.Event) error {
		return s.send(frame.Frame{Kind: frame.KindEvent, Gadget: g.Name, Event: e})
	}, s.flush)
	if err != nil {
		s.addError(err)
	}
	if err := s.send(frame.Frame{Kind: frame.KindLedger, Gadget: g.Name, Ledger: &ledger}); err != nil {
		s.addError(err)
	}
	s.flush()
}
