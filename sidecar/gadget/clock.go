package gadget

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// clock converts times of the kernel's monotonic clock, which BPF programs read, to wall-clock times. Someone may set
// the wall clock while a gadget runs: a VM does so some time after it has started. Events before that keep the times of
// the clock as it was.
type clock struct {
	mu    sync.Mutex
	eras  []era              // in the order of their begins
	steps chan time.Duration // by how much the wall clock was set

	setters *setters // nil: not watched
	lastSet uint64   // what setters said last, ns, monotonic
}

// era is a time in which nobody set the wall clock.
type era struct {
	begin uint64    // ns, monotonic
	zero  time.Time // wall-clock time at which the monotonic clock was 0
}

// smallestStep is the smallest step of the wall clock that begins a new era. Time services slew by less.
const smallestStep = 10 * time.Millisecond

// newClock reads the clocks.
func newClock() (*clock, error) {
	_, zero, err := readClocks()
	if err != nil {
		return nil, err
	}
	return &clock{eras: []era{{0, zero}}, steps: make(chan time.Duration, 10)}, nil
}

// readClocks returns the monotonic time in ns, and the wall-clock time at which it was 0.
func readClocks() (now uint64, zero time.Time, err error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0, time.Time{}, fmt.Errorf("read the clock: %w", err)
	}
	return uint64(ts.Nano()), time.Now().UTC().Round(0).Add(-time.Duration(ts.Nano())), nil
}

// at returns the wall-clock time of a monotonic time in ns.
func (c *clock) at(monotonic uint64) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if set := c.setters.last(); set != c.lastSet { // this process may not have noticed yet
		c.lastSet = set
		if now, zero, err := readClocks(); err == nil {
			c.noteStep(now, zero)
		}
	}
	i := len(c.eras) - 1
	for i > 0 && c.eras[i].begin > monotonic {
		i--
	}
	return c.eras[i].zero.Add(time.Duration(monotonic))
}

// noteStep begins a new era if the wall clock was set. The caller has locked the clock.
func (c *clock) noteStep(now uint64, zero time.Time) {
	last := c.eras[len(c.eras)-1]
	step := zero.Sub(last.zero)
	if step.Abs() < smallestStep {
		return
	}
	begin := now
	if set := c.setters.last(); set <= now && now-set < uint64(noticedWithin) {
		begin = set
	}
	c.eras = append(c.eras, era{begin, zero})
	select {
	case c.steps <- step:
	default: // nobody reads them
	}
}

// watch notes each time that someone sets the wall clock, until the context ends.
func (c *clock) watch(ctx context.Context) error {
	defer c.forgetSetters()
	fd, err := unix.TimerfdCreate(unix.CLOCK_REALTIME, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		return fmt.Errorf("watch the clock: %w", err)
	}
	defer unix.Close(fd)
	end, closeAtEnd, err := os.Pipe() // a poll of the one ends when the other is closed
	if err != nil {
		return fmt.Errorf("watch the clock: %w", err)
	}
	defer end.Close()
	defer closeAtEnd.Close()
	defer context.AfterFunc(ctx, func() { closeAtEnd.Close() })()
	for ctx.Err() == nil {
		// A timer for a time that never comes ends early, and only, if the clock is set.
		far := unix.ItimerSpec{Value: unix.Timespec{Sec: 1 << 40}}
		if err := unix.TimerfdSettime(fd, unix.TFD_TIMER_ABSTIME|tfdTimerCancelOnSet, &far, nil); err != nil {
			return fmt.Errorf("watch the clock: %w", err)
		}
		c.mu.Lock()
		if now, zero, err := readClocks(); err == nil {
			c.noteStep(now, zero)
		}
		c.mu.Unlock()
		if err := waitCancelled(ctx, fd, int(end.Fd())); err != nil {
			return err
		}
	}
	return nil
}

// tfdTimerCancelOnSet is TFD_TIMER_CANCEL_ON_SET of linux/timerfd.h.
const tfdTimerCancelOnSet = 2

// waitCancelled waits until the timer is cancelled because the clock was set, or the other end of a pipe is closed.
func waitCancelled(ctx context.Context, timer, end int) error {
	poll := []unix.PollFd{{Fd: int32(timer), Events: unix.POLLIN}, {Fd: int32(end), Events: unix.POLLIN}}
	for ctx.Err() == nil {
		n, err := unix.Poll(poll, -1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("watch the clock: %w", err)
		}
		if n <= 0 || poll[0].Revents == 0 {
			continue
		}
		var buffer [8]byte
		if _, err := unix.Read(timer, buffer[:]); errors.Is(err, unix.ECANCELED) {
			return nil
		}
	}
	return nil
}

// setters knows when a process last made a system call that can set the wall clock. This process learns of it only later.
// Without setters, an event in between would have the time of the clock as it was.
type setters struct {
	programs *ebpf.Collection
	attached link.Link
	call     *ebpf.Variable // ns, monotonic
}

// watchSetters watches those calls, if the kernel allows it.
func (c *clock) watchSetters(types *btf.Cache) {
	spec, err := loadClock()
	if err != nil {
		return
	}
	s := &setters{}
	if s.programs, err = ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{Cache: types}); err != nil {
		return
	}
	s.call = s.programs.Variables["maybe_set"]
	if s.attached, err = link.AttachRawTracepoint(link.RawTracepointOptions{Name: "sys_enter", Program: s.programs.Programs["clock_enter"]}); err != nil {
		s.programs.Close()
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.setters = s
}

// forgetSetters ends what watchSetters began.
func (c *clock) forgetSetters() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.setters != nil {
		_ = c.setters.attached.Close()
		c.setters.programs.Close()
		c.setters = nil
	}
}

// noticedWithin is how long after such a call this process notices at most. An older call was another one.
const noticedWithin = time.Second

// last returns when the last such call was made, in ns of the monotonic clock, 0 if there was none.
func (s *setters) last() (call uint64) {
	if s == nil || s.call.Get(&call) != nil {
		return 0
	}
	return call
}
