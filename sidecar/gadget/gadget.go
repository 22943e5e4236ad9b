// Package gadget loads the BPF programs of sidecar/bpf, attaches them, and decodes the records in their
// ring buffers into events. A gadget works if its programs could be loaded and attached; it does not
// check the kernel's version.
package gadget

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
	"github.com/cilium/ebpf/rlimit"

	"github.com/osc-debug/osc-debug/pkg/trace/frame"
	describe "github.com/osc-debug/osc-debug/pkg/trace/gadget"
	"github.com/osc-debug/osc-debug/sidecar/target"
)

// implementation is how a gadget sees events: by the first of its tiers that loads and attaches, the lowest without BPF
// programs.
type implementation struct {
	load   func() (*ebpf.CollectionSpec, error)
	tiers  []tier
	polled *polledTier // tried last; nil: there is none
	decode func(raw []byte, of *facts) (head, describe.Payload, error)
	// totals returns what the programs counted, when the gadget stops, for gadgets without a ring buffer; nil: decode
	// takes the records of a ring buffer.
	totals func(c *ebpf.Collection) ([]total, error)
	// adapt sets what the programs must know of the running kernel, and notes what decode must; nil: nothing.
	adapt func(spec *ebpf.CollectionSpec, kernel *btf.Spec, of *facts) error
}

// facts are what a gadget knows of the running kernel.
type facts struct {
	resetReasons map[int32]string // names, by number
}

// Names of tiers.
const (
	rawTracepoints = "raw tracepoints"
	kernelProbes   = "kernel probes"
)

// tier is a set of programs that together see a gadget's events.
type tier struct {
	name     string                       // such as "raw tracepoints"
	check    func(kernel *btf.Spec) error // whether the running kernel has what the programs need; nil: try
	lacks    string                       // what it does not see, "" for nothing
	required []attachment                 // each must load and attach
	optional []attachment                 // each may fail
}

// attachment is a program and what it is attached to.
type attachment struct {
	to      string // name of a raw tracepoint, or of a kernel function
	program string // name in the BPF object
	kprobe  bool
	without string // of an optional attachment: what is not seen without it
}

// total is what a gadget counted of something, when it stops.
type total struct {
	payload describe.Payload
	events  uint64 // that it stands for, in the ledger
}

// head is what the records of all gadgets have.
type head struct {
	time     uint64 // ns, monotonic
	pid, tid uint32
	comm     string
}

// implementations has all gadgets, by name.
var implementations = map[string]implementation{
	"open": openGadget, "tcp": tcpGadget, "exec": execGadget, "exit": exitGadget, "signal": signalGadget, "oom": oomGadget,
	"syscalls": syscallsGadget, "slow": slowGadget,
}

// Running is a gadget that was started. Read must be called: it releases the gadget's resources.
type Running struct {
	describe.Gadget
	Tier  string // how it sees events
	Lacks string // what it does not see of what it could, "" for nothing

	reader     *ringbuf.Reader
	links      []link.Link
	collection *ebpf.Collection
	decode     func(raw []byte, of *facts) (head, describe.Payload, error)
	facts      *facts
	totals     func(c *ebpf.Collection) ([]total, error)
	stopped    chan struct{}
	clock      *clock

	poll         poll // of a polled tier, which has neither reader nor collection
	seen, missed atomic.Uint64
}

// State returns the gadget's state: Works, or Degraded if it does not see all that it could.
func (r *Running) State() string {
	if r.Lacks != "" {
		return frame.Degraded
	}
	return frame.Works
}

// Starter starts gadgets for one target. They share what was read of the kernel's types.
type Starter struct {
	SlowerThan time.Duration // how long a call takes at least to be an event of gadget slow

	target *target.Target
	types  *btf.Cache
	clock  *clock
}

// NewStarter returns a Starter for a target. It keeps the kernel's types, some 30 MB, until it is dropped. It removes this
// process's limit for locked memory, which kernels before 5.11 apply to maps.
func NewStarter(t *target.Target) (*Starter, error) {
	if err := rlimit.RemoveMemlock(); err != nil {
		return nil, err
	}
	c, err := newClock()
	return &Starter{SlowerThan: describe.SlowCall, target: t, types: btf.NewCache(), clock: c}, err
}

// DropTypes drops what was read of the kernel's types. Gadgets that are started later read them again.
func (s *Starter) DropTypes() { s.types = btf.NewCache() }

// WatchClock begins to notice when someone sets the wall clock, so that the times of events are right. The function that it
// returns must be called; it calls stepped with by how much, and returns when the context ends. It uses the kernel's types.
func (s *Starter) WatchClock(ctx context.Context, stepped func(time.Duration)) (watch func() error) {
	s.clock.watchSetters(s.types)
	return func() error { return s.watchClock(ctx, stepped) }
}

func (s *Starter) watchClock(ctx context.Context, stepped func(time.Duration)) error {
	var reporting sync.WaitGroup
	defer reporting.Wait()
	ctx, stop := context.WithCancel(ctx)
	defer stop() // if the clock cannot be watched
	reporting.Go(func() {
		for {
			select {
			case by := <-s.clock.steps:
				stepped(by)
			case <-ctx.Done():
				return
			}
		}
	})
	return s.clock.watch(ctx)
}

// Start loads a gadget and attaches it. Events are buffered until Read is called.
func (s *Starter) Start(g describe.Gadget) (*Running, error) {
	how, ok := implementations[g.Name]
	if !ok {
		return nil, fmt.Errorf("unknown gadget %q", g.Name)
	}
	var failed error
	for _, t := range how.tiers {
		r, err := s.startTier(how, t)
		if err == nil {
			r.Gadget = g
			return r, nil
		}
		failed = errors.Join(failed, fmt.Errorf("gadget %s by %s: %w", g.Name, t.name, err))
	}
	if how.polled != nil {
		r, err := s.startPolled(how, failed)
		if err == nil {
			r.Gadget = g
			return r, nil
		}
		failed = errors.Join(failed, err)
	}
	return nil, failed
}

// startTier loads and attaches the programs of one tier.
func (s *Starter) startTier(how implementation, t tier) (*Running, error) {
	spec, err := how.load()
	if err != nil {
		return nil, err
	}
	if err := setConstants(spec, s.target); err != nil {
		return nil, err
	}
	if err := setConstant(spec, "threshold", uint64(s.SlowerThan)); err != nil {
		return nil, err
	}
	kernel, err := s.types.Kernel()
	if err != nil {
		return nil, fmt.Errorf("read the kernel's types: %w", err)
	}
	if t.check != nil {
		if err := t.check(kernel); err != nil {
			return nil, err
		}
	}
	known := &facts{}
	if how.adapt != nil {
		if err := how.adapt(spec, kernel, known); err != nil {
			return nil, err
		}
	}
	collection, optional, err := s.loadTier(spec, t)
	if err != nil {
		return nil, err
	}
	r := &Running{Tier: t.name, Lacks: t.lacks, collection: collection, decode: how.decode, facts: known, totals: how.totals, stopped: make(chan struct{}), clock: s.clock}
	if how.totals == nil {
		if r.reader, err = ringbuf.NewReader(collection.Maps["events"]); err != nil {
			return nil, errors.Join(fmt.Errorf("open the ring buffer: %w", err), r.close())
		}
	}
	if err := r.attach(t, optional); err != nil {
		return nil, errors.Join(err, r.close())
	}
	return r, nil
}

// loadTier loads the programs of a tier, and returns the optional ones that it could load: a kernel that rejects one
// rejects the collection.
func (s *Starter) loadTier(spec *ebpf.CollectionSpec, t tier) (c *ebpf.Collection, optional []attachment, err error) {
	load := func(optional []attachment) (*ebpf.Collection, error) {
		only := spec.Copy()
		keepPrograms(only, slices.Concat(t.required, optional))
		return ebpf.NewCollectionWithOptions(only, ebpf.CollectionOptions{Cache: s.types})
	}
	if c, err = load(t.optional); err == nil || len(t.optional) == 0 {
		return c, t.optional, err
	}
	for _, a := range t.optional {
		if alone, err := load([]attachment{a}); err == nil {
			alone.Close()
			optional = append(optional, a)
		}
	}
	c, err = load(optional)
	return c, optional, err
}

// keepPrograms removes the programs that are in none of the attachments.
func keepPrograms(spec *ebpf.CollectionSpec, attachments []attachment) {
	for name := range spec.Programs {
		if !slices.ContainsFunc(attachments, func(a attachment) bool { return a.program == name }) {
			delete(spec.Programs, name)
		}
	}
}

// attach attaches the programs. Those that see the end of something are first, so that no end is missed.
func (r *Running) attach(t tier, optional []attachment) error {
	for _, a := range t.required {
		if err := r.attachOne(a); err != nil {
			return err
		}
	}
	for _, a := range t.optional {
		if !slices.Contains(optional, a) || r.attachOne(a) != nil {
			r.Lacks = strings.TrimPrefix(r.Lacks+"; does not see "+a.without, "; ")
		}
	}
	return nil
}

func (r *Running) attachOne(a attachment) error {
	program := r.collection.Programs[a.program]
	if a.kprobe {
		l, err := link.Kprobe(a.to, program, nil)
		if err != nil {
			return fmt.Errorf("attach to kernel function %s: %w", a.to, err)
		}
		r.links = append(r.links, l)
		return nil
	}
	l, err := link.AttachRawTracepoint(link.RawTracepointOptions{Name: a.to, Program: program})
	if err != nil {
		return fmt.Errorf("attach to raw tracepoint %s: %w", a.to, err)
	}
	r.links = append(r.links, l)
	return nil
}

// setConstants sets the variables in gadget.h that identify the target.
func setConstants(spec *ebpf.CollectionSpec, t *target.Target) error {
	for name, value := range map[string]any{
		"target_mnt_ns": t.MountNS, "own_mnt_ns": t.OwnMountNS, "target_net_ns": t.NetNS, "pid_ns_dev": t.PIDNSDev, "pid_ns_ino": t.PIDNSIno,
	} {
		if err := setConstant(spec, name, value); err != nil {
			return err
		}
	}
	return nil
}

// setConstant sets a variable of the BPF programs, if they use it: the compiler removes others.
func setConstant(spec *ebpf.CollectionSpec, name string, value any) error {
	v, ok := spec.Variables[name]
	if !ok {
		return nil
	}
	if err := v.Set(value); err != nil {
		return fmt.Errorf("set %s: %w", name, err)
	}
	return nil
}

// argumentsOf returns the arguments that a tracepoint has in the running kernel, nil if it does not exist. Kernels
// differ in them, and versions do not tell: distributions port changes back.
func argumentsOf(kernel *btf.Spec, tracepoint string) []btf.FuncParam {
	var t *btf.Typedef
	if err := kernel.TypeByName("btf_trace_"+tracepoint, &t); err != nil {
		return nil
	}
	pointer, ok := t.Type.(*btf.Pointer)
	if !ok {
		return nil
	}
	function, ok := pointer.Target.(*btf.FuncProto)
	if !ok || len(function.Params) == 0 {
		return nil
	}
	return function.Params[1:] // the first is the tracepoint's own data
}

// pollInterval is how often the ring buffer is read at least: programs wake the reader when much is waiting.
const pollInterval = 50 * time.Millisecond

// Read passes events to deliver until Stop is called and the buffer is empty. Then it closes the gadget
// and returns the ledger. Events count as delivered, or as filtered if deliver returns false; those for which it
// returns an error, and records that cannot be decoded, count as dropped. Read calls idle when there is
// nothing to read at the moment.
func (r *Running) Read(deliver func(*describe.Event) (bool, error), idle func()) (frame.Ledger, error) {
	if r.totals != nil {
		return r.readTotals(deliver)
	}
	return r.readRecords(func(raw []byte) (bool, error) {
		h, payload, err := r.decode(raw, r.facts)
		if err != nil {
			return false, err
		}
		return deliver(r.event(h, payload))
	}, idle)
}

// ReadRaw is Read for the records as they are in the ring buffer. A record is valid until the next one.
func (r *Running) ReadRaw(keep func(raw []byte) error, idle func()) (frame.Ledger, error) {
	return r.readRecords(func(raw []byte) (bool, error) { return true, keep(raw) }, idle)
}

// readRecords passes the records of the ring buffer to handle.
func (r *Running) readRecords(handle func(raw []byte) (passed bool, err error), idle func()) (frame.Ledger, error) {
	if r.poll != nil {
		return r.readPolled(handle, idle)
	}
	var ledger frame.Ledger
	var record ringbuf.Record
	var failed error
	r.reader.SetDeadline(time.Now().Add(pollInterval))
	for {
		err := r.reader.ReadInto(&record)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			idle()
			r.reader.SetDeadline(time.Now().Add(pollInterval))
			continue
		}
		if errors.Is(err, ringbuf.ErrFlushed) {
			break
		}
		if err != nil {
			failed = err
			break
		}
		passed, err := handle(record.RawSample)
		switch {
		case err != nil:
			ledger.Dropped++
		case passed:
			ledger.Delivered++
		default:
			ledger.Filtered++
		}
	}
	var err error
	ledger.Seen, ledger.LostKernel, ledger.Missed, err = r.readCounters()
	return ledger, errors.Join(failed, err, r.close())
}

// readTotals waits for Stop and delivers what was counted.
func (r *Running) readTotals(deliver func(*describe.Event) (bool, error)) (ledger frame.Ledger, err error) {
	<-r.stopped
	totals, err := r.totals(r.collection)
	for _, t := range totals {
		passed, failed := deliver(&describe.Event{Gadget: r.Name, Time: time.Now(), Payload: t.payload})
		switch {
		case failed != nil:
			ledger.Dropped += t.events
		case passed:
			ledger.Delivered += t.events
		default:
			ledger.Filtered += t.events
		}
	}
	var readErr error
	ledger.Seen, ledger.LostKernel, ledger.Missed, readErr = r.readCounters()
	return ledger, errors.Join(err, readErr, r.close())
}

// event makes an event of what was decoded.
func (r *Running) event(h head, payload describe.Payload) *describe.Event {
	return &describe.Event{Gadget: r.Name, Time: r.clock.at(h.time), PID: h.pid, TID: h.tid, Comm: h.comm, Payload: payload}
}

// Counts returns the ledger as it is while the gadget runs: what was delivered is what was neither lost nor waits.
func (r *Running) Counts() (seen, lost, missed uint64, err error) { return r.readCounters() }

// Totals returns what a gadget of totals has counted until now; nil for others.
func (r *Running) Totals() ([]describe.Payload, error) {
	if r.totals == nil {
		return nil, nil
	}
	totals, err := r.totals(r.collection)
	var out []describe.Payload
	for _, t := range totals {
		out = append(out, t.payload)
	}
	return out, err
}

// Stop detaches the programs, so that no more events arrive, and makes Read return after it has
// delivered those in the buffer.
func (r *Running) Stop() error {
	var failed error
	for _, l := range r.links {
		failed = errors.Join(failed, l.Close())
	}
	r.links = nil
	close(r.stopped)
	if r.reader == nil {
		return failed
	}
	return errors.Join(failed, r.reader.Flush())
}

// Close detaches the programs and releases the gadget's resources, for a gadget whose events nobody reads.
func (r *Running) Close() error { return errors.Join(r.Stop(), r.close()) }

// readCounters returns the counters of the BPF programs, summed over all CPUs. missed includes how often the kernel
// did not run a program because it was running already, where the kernel counts that (5.12 and newer).
func (r *Running) readCounters() (seen, lost, missed uint64, err error) {
	if r.poll != nil {
		return r.seen.Load(), 0, r.missed.Load(), nil
	}
	for key, sum := range map[uint32]*uint64{0: &seen, 1: &lost, 2: &missed} {
		var perCPU []uint64
		if err := r.collection.Maps["counters"].Lookup(key, &perCPU); err != nil {
			return 0, 0, 0, fmt.Errorf("read the ledger: %w", err)
		}
		for _, n := range perCPU {
			*sum += n
		}
	}
	for _, p := range r.collection.Programs {
		if stats, err := p.Stats(); err == nil {
			missed += stats.RecursionMisses
		}
	}
	return seen, lost, missed, nil
}

func (r *Running) close() error {
	var failed error
	for _, l := range r.links {
		failed = errors.Join(failed, l.Close())
	}
	if r.reader != nil {
		failed = errors.Join(failed, r.reader.Close())
	}
	if r.collection != nil {
		r.collection.Close()
	}
	return failed
}
