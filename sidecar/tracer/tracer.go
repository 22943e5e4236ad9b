// Package tracer runs gadgets for one client. It lives as long as the client: when the
// client's stream ends, or no heartbeat came for a minute, it detaches everything and
// goes, so that nothing keeps tracing behind a broken connection.
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

// Request is what a client asks for. The command line has checked it; the tracer runs
// as root, so it checks again.
type Request struct {
	Gadgets       []string
	ContainerID   string
	ContainerName string
}

var (
	validID   = regexp.MustCompile(`^[0-9a-f]{64}$`)
	validName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)
)

func (r Request) check() error {
	if len(r.Gadgets) == 0 {
		return errors.New("name a gadget: " + frame.GadgetNames())
	}
	if _, err := frame.Lookup(r.Gadgets); err != nil {
		return err
	}
	if !validID.MatchString(r.ContainerID) || !validName.MatchString(r.ContainerName) {
		return errors.New("the container's ID or name is not one")
	}
	return nil
}

// Run traces until in ends, heartbeats stay away, or the context ends. It fails only
// when no gadget works at all.
func Run(ctx context.Context, r Request, in io.Reader, out io.Writer) error {
	if err := r.check(); err != nil {
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
		status := &frame.Status{State: frame.Works, Reason: "container found by " + t.How}
		if err != nil {
			status = &frame.Status{State: frame.Unavailable, Reason: err.Error()}
			failed = errors.Join(failed, err)
		}
		if err := s.send(frame.Frame{Kind: frame.KindGadget, Gadget: name, Status: status}); err != nil {
			s.fail(err)
		}
		if g != nil {
			running = append(running, g)
			readers.Go(func() { s.serve(g) })
		}
	}
	s.flush()
	if len(running) == 0 {
		return failed
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() { cancel(heartbeats(ctx, in)) }() // ends with the process: a blocked read can't be ended
	<-ctx.Done()
	for _, g := range running {
		if err := g.Stop(); err != nil {
			s.fail(err)
		}
	}
	readers.Wait()
	return s.failed
}

// heartbeats returns why the client is gone.
func heartbeats(ctx context.Context, in io.Reader) error {
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

// stream numbers frames and writes one at a time.
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
		s.seq-- // nothing of it was delivered
	}
	return err
}

// flush sends what is buffered; gadgets call it when they have nothing more for now.
func (s *stream) flush() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.buffer.Flush(); err != nil && s.failed == nil {
		s.failed = err
	}
}

func (s *stream) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed = errors.Join(s.failed, err)
}

// serve sends a gadget's events and, at its end, its ledger.
func (s *stream) serve(g *gadget.Running) {
	ledger, err := g.Read(func(e *frame.Event) error {
		return s.send(frame.Frame{Kind: frame.KindEvent, Gadget: g.Name, Event: e})
	}, s.flush)
	if err != nil {
		s.fail(err)
	}
	if err := s.send(frame.Frame{Kind: frame.KindLedger, Gadget: g.Name, Ledger: &ledger}); err != nil {
		s.fail(err)
	}
	s.flush()
}
