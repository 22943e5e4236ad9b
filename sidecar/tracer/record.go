package tracer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/osc-debug/osc-debug/pkg/trace/frame"
	describe "github.com/osc-debug/osc-debug/pkg/trace/gadget"
	"github.com/osc-debug/osc-debug/sidecar/gadget"
	"github.com/osc-debug/osc-debug/sidecar/recorder"
	"github.com/osc-debug/osc-debug/sidecar/target"
)

// Recording says what to record.
type Recording struct {
	Gadgets []string // names
	Dir     string   // of the recording
	Limit   int64    // bytes of the ring

	SlowerThan time.Duration // threshold of gadget slow
}

// Names of files in a recording's folder.
const (
	ringDir    = "ring"
	statusFile = "status.json"
	lateFile   = "late" // exists if the program was started before the gadgets were attached
)

// stateInterval is how often the recorder writes its state.
const stateInterval = time.Second

// Record records until the context ends. It writes its state when the gadgets are attached, see WaitAttached, and, if it
// cannot record, why.
func Record(ctx context.Context, r Recording) error {
	err := record(ctx, r)
	if err == nil || ctx.Err() != nil {
		return err
	}
	return errors.Join(err, noteFailure(r.Dir, err))
}

func record(ctx context.Context, r Recording) error {
	described, err := describe.Lookup(r.Gadgets)
	if err != nil {
		return err
	}
	if r.SlowerThan < 0 {
		return errNegative
	}
	t, err := target.All("/proc")
	if err != nil {
		return err
	}
	starter, err := gadget.NewStarter(t)
	if err != nil {
		return err
	}
	starter.SlowerThan = r.SlowerThan
	rec := &recording{Recording: r, state: frame.State{Gadgets: map[string]frame.Status{}, Ledgers: map[string]frame.Ledger{}, Totals: map[string]json.RawMessage{}}}
	for _, d := range described {
		g, status := start(starter, d)
		rec.state.Gadgets[d.Name] = status
		if g != nil {
			rec.running = append(rec.running, g)
		}
	}
	if rec.ring, err = recorder.NewRing(filepath.Join(r.Dir, ringDir), r.Limit, r.Gadgets, func() recorder.Meta { return starter.Meta(rec.running) }); err != nil {
		return errors.Join(err, stopAll(rec.running))
	}
	rec.state.Attached = time.Now()
	err = rec.writeState()
	var working sync.WaitGroup
	for _, g := range rec.running {
		working.Go(func() { rec.keep(g) })
	}
	// A segment has the clock of its records.
	watchClock := starter.WatchClock(ctx, func(time.Duration) { rec.note(rec.ring.Rotate()) })
	starter.DropTypes()
	working.Go(func() { rec.note(watchClock()) })
	working.Go(func() { rec.reportState(ctx) })
	<-ctx.Done()
	err = errors.Join(err, stopAll(rec.running))
	working.Wait()
	rec.state.Ended = true
	return errors.Join(err, rec.failed, rec.ring.Close(), rec.writeState())
}

// recording is a recorder at work.
type recording struct {
	Recording
	running []*gadget.Running
	ring    *recorder.Ring

	mu     sync.Mutex
	state  frame.State
	failed error
}

// keep writes the records of a gadget into the ring until the gadget is stopped.
func (r *recording) keep(g *gadget.Running) {
	index := 0
	for i, name := range r.Gadgets {
		if name == g.Name {
			index = i
		}
	}
	read := func() (frame.Ledger, error) {
		return g.ReadRaw(func(raw []byte) error { return r.ring.Append(index, raw) }, func() { r.note(r.ring.Flush()) })
	}
	if g.Gadget.Totals {
		read = func() (frame.Ledger, error) {
			return g.Read(func(*describe.Event) (bool, error) { return true, nil }, func() {})
		}
	}
	ledger, err := read()
	r.note(err)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state.Ledgers[g.Name] = ledger
}

// reportState writes the state at every interval until the context ends.
func (r *recording) reportState(ctx context.Context) {
	ticker := time.NewTicker(stateInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			r.note(r.writeState())
		}
	}
}

// writeState writes the state into its file, at once or not at all.
func (r *recording) writeState() error {
	totals := map[string]json.RawMessage{}
	for _, g := range r.running {
		list, err := g.Totals()
		if err != nil || list == nil {
			continue // the gadget has ended: the state has its last totals
		}
		text, err := json.Marshal(list)
		if err != nil {
			return err
		}
		totals[g.Name] = text
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, text := range totals {
		r.state.Totals[name] = text
	}
	r.state.Gone = r.ring.Gone()
	if r.failed != nil {
		r.state.Failed = r.failed.Error()
	}
	return writeState(r.Dir, &r.state)
}

// writeState writes a state into the file of a recording, at once or not at all.
func writeState(dir string, s *frame.State) error {
	if _, err := os.Stat(filepath.Join(dir, lateFile)); err == nil {
		s.Late = true
	}
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	path := filepath.Join(dir, statusFile)
	if err := os.WriteFile(path+".new", text, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// note keeps the first error.
func (r *recording) note(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failed == nil {
		r.failed = err
	}
}

// maxState is the longest state that is read, in bytes.
const maxState = 4 << 20

// ReadState reads the state of a recording. The error is os.ErrNotExist if there is none yet.
func ReadState(dir string) (s frame.State, err error) {
	path := filepath.Join(dir, statusFile)
	info, err := os.Stat(path)
	if err != nil {
		return s, err
	}
	if info.Size() > maxState {
		return s, fmt.Errorf("%s has %d bytes", path, info.Size())
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(text, &s)
}

// WaitAttached waits until the recorder has attached its gadgets, but not longer than limit: then it notes that the
// recording begins late. The kubelet starts the program when it returns, and would end the sidecar if it failed.
func WaitAttached(ctx context.Context, dir string, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		if _, err := os.Stat(filepath.Join(dir, statusFile)); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(filepath.Join(dir, lateFile), nil, 0o600))
		case <-time.After(5 * time.Millisecond): // a file in a new folder: watching it would take longer
		}
	}
}
