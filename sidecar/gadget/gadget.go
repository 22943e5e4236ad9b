// Package gadget loads the BPF programs of sidecar/bpf, attaches them, and decodes the records in their
// ring buffers into events. A gadget works if its programs could be loaded and attached; it does not
// check the kernel's version.
package gadget

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"

	"github.com/osc-debug/osc-debug/pkg/trace/frame"
	"github.com/osc-debug/osc-debug/sidecar/target"
)

// Running is a gadget that was started. Read must be called: it releases the gadget's resources.
type Running struct {
	Name     string
	reader   *ringbuf.Reader
	links    []link.Link
	closers  []func() error
	counters *ebpf.Map
	decode   func(raw []byte, boot time.Time) (*frame.Event, error)
	boot     time.Time // wall-clock time when the kernel's monotonic clock was 0
}

// attachment is a program and the raw tracepoint to attach it to.
type attachment struct {
	tracepoint string
	program    *ebpf.Program
}

// Start loads a gadget for a target and attaches it. Events are buffered until Read is called.
func Start(name string, t *target.Target) (*Running, error) {
	var (
		r   *Running
		err error
	)
	switch name {
	case "open":
		r, err = startOpen(t)
	case "tcp":
		r, err = startTCP(t)
	default:
		return nil, fmt.Errorf("unknown gadget %q", name)
	}
	if err != nil {
		return nil, fmt.Errorf("gadget %s: %w", name, err)
	}
	r.Name = name
	return r, nil
}

// setConstants sets the variables in gadget.h that identify the target.
func setConstants(spec *ebpf.CollectionSpec, t *target.Target) error {
	for name, value := range map[string]any{
		"target_mnt_ns": t.MountNS, "target_net_ns": t.NetNS, "pid_ns_dev": t.PIDNSDev, "pid_ns_ino": t.PIDNSIno,
	} {
		v, ok := spec.Variables[name]
		if !ok {
			continue // the compiler removes variables that a gadget does not use
		}
		if err := v.Set(value); err != nil {
			return fmt.Errorf("set %s: %w", name, err)
		}
	}
	return nil
}

// attachPrograms opens the ring buffer and attaches the programs. On an error it detaches them and calls the
// closers.
func attachPrograms(events, counters *ebpf.Map, attachments []attachment, decode func([]byte, time.Time) (*frame.Event, error), closers ...func() error) (*Running, error) {
	boot, err := bootTime()
	if err != nil {
		return nil, err
	}
	r := &Running{counters: counters, decode: decode, boot: boot, closers: closers}
	if r.reader, err = ringbuf.NewReader(events); err != nil {
		return nil, errors.Join(fmt.Errorf("open the ring buffer: %w", err), r.close())
	}
	for _, a := range attachments {
		l, err := link.AttachRawTracepoint(link.RawTracepointOptions{Name: a.tracepoint, Program: a.program})
		if err != nil {
			return nil, errors.Join(fmt.Errorf("attach to raw tracepoint %s: %w", a.tracepoint, err), r.close())
		}
		r.links = append(r.links, l)
	}
	return r, nil
}

// pollInterval is how often the ring buffer is read: programs wake the reader only when the buffer
// fills up.
const pollInterval = 50 * time.Millisecond

// Read passes events to deliver until Stop is called and the buffer is empty. Then it closes the gadget
// and returns the ledger. Events for which deliver returns nil count as delivered; those for which it
// returns an error, and records that cannot be decoded, count as dropped. Read calls idle when there is
// nothing to read at the moment.
func (r *Running) Read(deliver func(*frame.Event) error, idle func()) (frame.Ledger, error) {
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
		event, err := r.decode(record.RawSample, r.boot)
		if err == nil {
			err = deliver(event)
		}
		if err != nil {
			ledger.Dropped++
			continue
		}
		ledger.Delivered++
	}
	var err error
	ledger.Seen, ledger.LostKernel, err = r.readCounters()
	return ledger, errors.Join(failed, err, r.close())
}

// Stop detaches the programs, so that no more events arrive, and makes Read return after it has
// delivered those in the buffer.
func (r *Running) Stop() error {
	var failed error
	for _, l := range r.links {
		failed = errors.Join(failed, l.Close())
	}
	r.links = nil
	return errors.Join(failed, r.reader.Flush())
}

// readCounters returns the counters of the BPF programs, summed over all CPUs.
func (r *Running) readCounters() (seen, lost uint64, err error) {
	for key, sum := range map[uint32]*uint64{0: &seen, 1: &lost} {
		var perCPU []uint64
		if err := r.counters.Lookup(key, &perCPU); err != nil {
			return 0, 0, fmt.Errorf("read the ledger: %w", err)
		}
		for _, n := range perCPU {
			*sum += n
		}
	}
	return seen, lost, nil
}

func (r *Running) close() error {
	var failed error
	for _, l := range r.links {
		failed = errors.Join(failed, l.Close())
	}
	if r.reader != nil {
		failed = errors.Join(failed, r.reader.Close())
	}
	for _, c := range r.closers {
		failed = errors.Join(failed, c())
	}
	return failed
}
