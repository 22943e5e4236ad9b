package gadget

import (
	"encoding/json"
	"os"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"
	"unicode/utf8"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/osc-debug/osc-debug/pkg/trace/frame"
	describe "github.com/osc-debug/osc-debug/pkg/trace/gadget"
)

// Programs that are hard to trace.
const (
	flood   = "flood"   // opens many files at once
	threads = "threads" // has many threads that end at once
	hostile = "hostile" // has names that no terminal and no JSON may get as they are
)

// What these programs do each time.
const (
	floodOpens   = 2000
	shortThreads = 10_000
	hostileName  = "\x1b]52;c;eA==\a\xff" // sets a terminal's clipboard, and is no UTF-8; as long as a thread's name may be
	hostilePath  = "/\x1b[31m\xc3\x28\n\u202e/file"
	smallRing    = 4096 // bytes
)

func init() {
	programs[flood] = func() { whenTold(openMany) }
	programs[threads] = func() { whenTold(startThreads) }
	programs[hostile] = func() { whenTold(beHostile) }
}

func openMany() {
	for range floodOpens {
		_, _ = unix.Open("/no/such/file", unix.O_RDONLY, 0)
	}
}

// startThreads starts threads that end at once: Go ends the thread of a goroutine that ends while it is locked to it.
func startThreads() {
	limit := make(chan struct{}, 100)
	var all sync.WaitGroup
	for range shortThreads {
		limit <- struct{}{}
		all.Go(func() {
			runtime.LockOSThread()
			<-limit
		})
	}
	all.Wait()
}

func beHostile() {
	runtime.LockOSThread()
	name := append([]byte(hostileName), 0)
	_ = unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(&name[0])), 0, 0, 0)
	_, _ = unix.Open(hostilePath, unix.O_RDONLY, 0)
}

// repeat returns how often a test repeats something: few times, or as often as the variable OSC_DEBUG_STRESS says.
func repeat(t *testing.T, few int) int {
	t.Helper()
	text := os.Getenv("OSC_DEBUG_STRESS")
	if text == "" {
		return few
	}
	n, err := strconv.Atoi(text)
	ok(t, err)
	return n
}

// The ledger is exact however much is lost: a flood into a small ring loses most of its events.
func TestTheLedgerOfFloods(t *testing.T) {
	p := start(t, flood)
	starter, err := NewStarter(targetOf(t, p.Process.Pid))
	ok(t, err)
	how := implementations["open"]
	how.load = func() (*ebpf.CollectionSpec, error) {
		spec, err := loadOpen()
		if err == nil {
			spec.Maps["events"].MaxEntries = smallRing
		}
		return spec, err
	}
	running, err := starter.startTier(how, how.tiers[0])
	ok(t, err)
	delivered, done := uint64(0), make(chan frame.Ledger)
	go func() {
		ledger, err := running.Read(func(*describe.Event) (bool, error) {
			delivered++
			return true, nil
		}, func() {})
		if err != nil {
			t.Error(err)
		}
		done <- ledger
	}()
	floods := repeat(t, 10)
	for n := range floods {
		p.do(t)
		if seen, lost, missed, err := running.Counts(); err != nil || seen != uint64(n+1)*floodOpens || lost > seen || missed > 0 {
			t.Fatalf("after %d floods of %d: %d seen, %d lost, %d missed: %v", n+1, floodOpens, seen, lost, missed, err)
		}
	}
	ok(t, running.Stop())
	ledger := <-done
	if !ledger.Balanced() || ledger.Delivered != delivered || ledger.Seen != uint64(floods)*floodOpens || ledger.LostKernel == 0 {
		t.Errorf("ledger of %d floods: %s; %d delivered", floods, ledger, delivered)
	}
}

// Threads that come and go are no processes that end, and cost no event.
func TestShortLivedThreads(t *testing.T) {
	for range repeat(t, 1) {
		_, events, ledger := traceProgram(t, "exit", threads)
		checkBalanced(t, ledger, 0)
		if len(events) != 0 {
			t.Errorf("%d processes ended, want none", len(events))
		}
		_, events, ledger = traceProgram(t, "syscalls", threads)
		if !ledger.Balanced() || ledger.Lost() || len(events) == 0 {
			t.Errorf("ledger of %d threads: %s", shortThreads, ledger)
		}
	}
}

// Names that a program chooses are valid in JSON, and a filter or a table gets what the program had chosen.
func TestHostileNames(t *testing.T) {
	_, events, ledger := traceProgram(t, "open", hostile)
	checkBalanced(t, ledger, len(events))
	found := false
	for _, e := range events {
		text, err := json.Marshal(e)
		if err != nil || !utf8.Valid(text) || !json.Valid(text) {
			t.Errorf("%q: %v", text, err)
		}
		found = found || e.Payload.(*describe.Open).Path == hostilePath && e.Comm == hostileName
	}
	if !found {
		t.Errorf("the open was not seen among %d", len(events))
	}
}

// After gadgets were attached and detached many times, the kernel has none of their programs and maps.
func TestDetachedGadgetsLeaveNothing(t *testing.T) {
	names := map[string]bool{}
	for _, how := range implementations {
		spec, err := how.load()
		ok(t, err)
		for name := range spec.Programs {
			names[name[:min(len(name), kernelName)]] = true
		}
	}
	starter, err := NewStarter(targetOf(t, os.Getpid()))
	ok(t, err)
	for n := range 10 * repeat(t, 2) {
		all := describe.All()
		g, err := starter.Start(all[n%len(all)])
		ok(t, err)
		if len(loaded(t, names)) == 0 {
			t.Fatal("no program is loaded while a gadget runs")
		}
		ok(t, g.Close())
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) { // the kernel frees them later
		left := loaded(t, names)
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("still loaded: %v", left)
		}
	}
}

// kernelName is how long the kernel lets the name of a program or map be.
const kernelName = 15

// loaded returns which of the programs with these names the kernel has.
func loaded(t *testing.T, names map[string]bool) (found []string) {
	t.Helper()
	for id := ebpf.ProgramID(0); ; {
		next, err := ebpf.ProgramGetNextID(id)
		if err != nil {
			return found // the last one
		}
		id = next
		p, err := ebpf.NewProgramFromID(id)
		if err != nil {
			continue // gone meanwhile
		}
		info, err := p.Info()
		p.Close()
		ok(t, err)
		if names[info.Name] {
			found = append(found, info.Name)
		}
	}
}
