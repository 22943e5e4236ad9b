//go:build kernels

package gadget

import (
	"context"
	"fmt"
	"maps"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/osc-debug/osc-debug/pkg/trace/frame"
	describe "github.com/osc-debug/osc-debug/pkg/trace/gadget"
)

// The numbers of the 32-bit table mean other calls. (aquasecurity/tracee#3676, #4401, falcosecurity/libs#1498)
func TestCallsOfThe32BitTable(t *testing.T) {
	traceCompat := func(gadget string) ([]string, []*describe.Event) {
		truth, events, ledger := startField(t, "compat").trace(t, 0, gadget)
		if !ledger.Balanced() || ledger.Lost() {
			t.Errorf("%s: %s", gadget, ledger)
		}
		return truth, events
	}
	opened := map[string]int{}
	_, events := traceCompat("open")
	for _, e := range events {
		o := e.Payload.(*describe.Open)
		opened[fmt.Sprintf("%s %s %t", o.Path, o.Error, o.Compat)]++
	}
	if want := map[string]int{"/etc/hostname  true": 10, "/no/such/file ENOENT true": 10}; !maps.Equal(opened, want) {
		t.Errorf("open: %v, want %v", opened, want)
	}
	_, events = traceCompat("syscalls")
	made := map[string]uint64{}
	for _, e := range events {
		s := e.Payload.(*describe.Syscalls)
		made[s.Name] = s.Count
	}
	for name, want := range map[string]uint64{"open": 10, "close": 10, "readlink": 10, "getpid": 10, "openat": 10, "execve": 1, "socketcall": 1} {
		if got := made[name+compatMark]; got != want {
			t.Errorf("syscalls: %d calls of %s, want %d, in %v", got, name+compatMark, want, made)
		}
	}
	for _, name := range []string{"creat", "writev", "preadv", "lstat", "execve"} {
		if made[name] != 0 {
			t.Errorf("syscalls: %d calls of %s, which nobody made", made[name], name)
		}
	}
	_, events = traceCompat("exec")
	if len(events) != 1 || fmt.Sprint(*events[0].Payload.(*describe.Exec)) != fmt.Sprint(describe.Exec{File: "/no/such/file", Args: []string{"/no/such/file", "an argument"}, Parent: uint32(os.Getpid()), Error: "ENOENT"}) {
		t.Errorf("exec: %d events, want one", len(events))
		for _, e := range events {
			t.Logf("%+v", e.Payload)
		}
	}
	truth, events := traceCompat("tcp")
	accepts := 0
	for _, e := range events {
		if c := e.Payload.(*describe.TCP); c.Op == "accept" && fmt.Sprintf("port\t%d", c.Local.Port()) == truth[0] {
			accepts++
		}
	}
	if accepts != 1 {
		t.Errorf("tcp: %d connections accepted by socketcall, want 1", accepts)
	}
	_, events = traceCompat("slow")
	paths := map[string]int{}
	for _, e := range events {
		if s := e.Payload.(*describe.Slow); strings.HasSuffix(s.Name, compatMark) && len(s.Args) > 0 {
			paths[s.Name+" "+s.Args.String()]++
		}
	}
	if paths["open"+compatMark+" path /etc/hostname"] != 10 {
		t.Errorf("slow: %v, want 10 opens of /etc/hostname", paths)
	}
}

// marker is the program that opens files whose names are the time of the clock, in ns.
const marker = "marker"

const (
	marks = 20 // before the clock is set, meanwhile, and after it is set back
	step  = time.Hour

	near = 50 * time.Millisecond // how far an event's time may be from its mark
	late = 2 * time.Second       // the same if the VM stood still in between
)

func init() { programs[marker] = func() { whenTold(markClock) } }

// markClock opens files named by the clock's time, and sets the clock forward and back in between.
func markClock() {
	for _, by := range []time.Duration{step, -step, 0} {
		for range marks {
			_, _ = unix.Open("/tmp/mark-"+strconv.FormatInt(time.Now().UnixNano(), 10), unix.O_RDONLY, 0)
			time.Sleep(20 * time.Millisecond)
		}
		to := unix.NsecToTimespec(time.Now().Add(by).UnixNano())
		if by != 0 && unix.ClockSettime(unix.CLOCK_REALTIME, &to) != nil {
			os.Exit(1)
		}
	}
}

// An event has the time of the clock at its moment, even if someone sets the clock meanwhile. The tracer reports each
// such change once. (elastic/quark#364, microsoft/retina#204, gma1k/podtrace#202)
func TestTheClockIsSetMeanwhile(t *testing.T) {
	p := start(t, marker)
	described, err := describe.Lookup([]string{"open"})
	ok(t, err)
	starter, err := NewStarter(targetOf(t, p.Process.Pid))
	ok(t, err)
	running, err := starter.Start(described[0])
	ok(t, err)
	var steps []time.Duration
	watching := make(chan error)
	ctx, stop := context.WithCancel(t.Context())
	watch := starter.WatchClock(ctx, func(by time.Duration) { steps = append(steps, by.Round(time.Second)) })
	go func() { watching <- watch() }()
	var events []*describe.Event
	finished := make(chan frame.Ledger)
	go func() {
		ledger, _ := running.Read(func(e *describe.Event) (bool, error) { events = append(events, e); return true, nil }, func() {})
		finished <- ledger
	}()
	p.do(t)
	ok(t, running.Stop())
	checkBalanced(t, <-finished, len(events))
	stop()
	ok(t, <-watching)
	if fmt.Sprint(steps) != fmt.Sprint([]time.Duration{step, -step}) {
		t.Errorf("steps %v, want %s and %s", steps, step, -step)
	}
	seen, exact := 0, 0
	for _, e := range events {
		o := e.Payload.(*describe.Open)
		text, isMark := strings.CutPrefix(o.Path, "/tmp/mark-")
		if !isMark {
			continue
		}
		seen++
		ns, err := strconv.ParseInt(text, 10, 64)
		ok(t, err)
		if off := e.Time.Sub(time.Unix(0, ns)).Abs(); off > late || o.Took > late || o.Took < 0 {
			t.Errorf("mark %d: the event is %s off and took %s", seen, off, o.Took)
		} else if off <= near && o.Took <= near {
			exact++
		}
	}
	if exact < 3*marks*9/10 { // a VM may stand still for a moment
		t.Errorf("%d of %d events are within %s of their marks", exact, 3*marks, near)
	}
	if seen != 3*marks {
		t.Errorf("%d marks seen, want %d", seen, 3*marks)
	}
}
