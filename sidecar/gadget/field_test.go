package gadget

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	describe "github.com/osc-debug/osc-debug/pkg/trace/gadget"
)

// fieldInVM is where a VM has the program of testdata/field.c, which needs a C compiler elsewhere.
const fieldInVM = "/field"

// startField starts the program of testdata/field.c, which does what users of other tracers met.
func startField(t *testing.T, what string) *program {
	t.Helper()
	path := fieldInVM
	if _, err := os.Stat(path); err != nil {
		path = filepath.Join(t.TempDir(), "field")
		if out, err := exec.Command("cc", "-O1", "-pthread", "-o", path, "testdata/field.c").CombinedOutput(); err != nil {
			t.Fatalf("compile testdata/field.c (apt-get install gcc libc6-dev): %v\n%s", err, out)
		}
	}
	return startCommand(t, exec.Command(path, what))
}

// A process that ends is one event, when its last thread ends. It has the code or signal that its parent gets, and the time
// since its start. (elastic/ebpf#64, falcosecurity/libs#336)
func TestEveryWayAProcessEnds(t *testing.T) {
	truth, events, ledger := startField(t, "exits").trace(t, 0, "exit")
	checkBalanced(t, ledger, len(events))
	if len(truth) != 7 || len(events) != len(truth) {
		t.Errorf("%d processes ended, %d events", len(truth), len(events))
	}
	for how, line := range truth {
		var pid, code, signal int
		var seconds float64
		_, err := fmt.Sscanf(line, "%d\t%d\t%d\t%f", &pid, &code, &signal, &seconds)
		ok(t, err)
		of := slices.IndexFunc(events, func(e *describe.Event) bool { return int(e.PID) == pid })
		if of < 0 {
			t.Errorf("no event for %s", line)
			continue
		}
		x := events[of].Payload.(*describe.Exit)
		if signal != 0 && x.Signal != unix.SignalName(unix.Signal(signal)) || signal == 0 && (int(x.Code) != code || x.Signal != "") {
			t.Errorf("%+v, want code %d, signal %d", x, code, signal)
		}
		// Its parent measures from before the fork to after the wait.
		if x.Lived.Seconds() > seconds+0.01 || how < 4 && x.Lived < 300*time.Millisecond { // in the first four, a thread waits
			t.Errorf("lived %s, want %.3f s at most", x.Lived, seconds)
		}
	}
}

// A thread that starts a program gets the number of its process. The call that did so has an end nevertheless, and the
// program's process one event of gadget exec. Arguments that are ints are read as such.
func TestAThreadStartsAProgram(t *testing.T) {
	truth, events, ledger := startField(t, "thread-starts").trace(t, 0, "slow")
	checkBalanced(t, ledger, len(events))
	starts, waits := 0, 0
	for _, e := range events {
		s := e.Payload.(*describe.Slow)
		switch {
		case fmt.Sprint(e.PID) != truth[0]:
		case s.Name == "execve" && s.Result == 0 && e.TID == e.PID:
			starts++
		case s.Name == "epoll_pwait" && s.Args.String() == "fd -1  events 1  ms -1" && s.Error == "EBADF":
			waits++
		}
	}
	if starts != 1 || waits != 1 {
		t.Errorf("%d ends of execve and %d waits, want 1 each", starts, waits)
	}
	truth, events, ledger = startField(t, "thread-starts").trace(t, 0, "exec")
	checkBalanced(t, ledger, len(events))
	if len(events) != 1 || fmt.Sprint(events[0].PID) != truth[0] || events[0].TID != events[0].PID {
		t.Errorf("%d programs started by %s, want one", len(events), truth[0])
	}
}

// A path is what the program gave. What it starts from is beside it, as it was at the call: a directory renamed since, a
// descriptor used for another directory, a root of its own. (iovisor/bcc#3124, #4512, draios/sysdig#1659,
// linux-audit/audit-kernel#95)
func TestPathsRelativeToWhat(t *testing.T) {
	truth, events, _ := startField(t, "paths").trace(t, 0, "open")
	truth = truth[slices.Index(truth, "begin")+1:]
	if len(truth) != 7 {
		t.Fatalf("%d opens: %q", len(truth), truth)
	}
	for _, line := range truth {
		var errno int
		fields := strings.Split(line, "\t")
		given, meant := fields[0], fields[1]
		_, err := fmt.Sscan(fields[2], &errno)
		ok(t, err)
		var found []string
		for _, e := range events {
			o := e.Payload.(*describe.Open)
			found = append(found, fmt.Sprintf("%+v", *o))
			if o.Path == given && o.Error == errnoName(int32(errno)) && o.Full() == meant {
				found = nil
				break
			}
		}
		if found != nil {
			t.Errorf("no event for %q, which means %q, with %q, in:\n%s", given, meant, errnoName(int32(errno)), strings.Join(found, "\n"))
		}
	}
	nameless := slices.IndexFunc(events, func(e *describe.Event) bool {
		return slices.Contains(e.Payload.(*describe.Open).FlagNames, "O_TMPFILE")
	})
	if nameless < 0 || slices.Contains(events[nameless].Payload.(*describe.Open).FlagNames, "O_DIRECTORY") {
		t.Error("no event with O_TMPFILE, or one with O_DIRECTORY too")
	}
}

// A signal is an event with its sender: a process, or the kernel for a timer, a bad pointer and a closed pipe. Asking
// whether a process exists sends none. (iovisor/bcc#4228, #3520, #3592, #5057)
func TestWhoSentTheSignal(t *testing.T) {
	truth, events, ledger := startField(t, "signals").trace(t, 0, "signal")
	checkBalanced(t, ledger, len(events))
	if len(truth) != 9 {
		t.Fatalf("%d signals: %q", len(truth), truth)
	}
	ofChildren := 0
	for _, e := range events {
		if s := e.Payload.(*describe.Signal); s.Signal == "SIGCHLD" && s.Sender == "kernel" {
			ofChildren++
		}
	}
	if len(events) != len(truth)+ofChildren || ofChildren != 8 {
		t.Errorf("%d events, %d of them the kernel's for children, want %d and 8", len(events), ofChildren, len(truth)+8)
	}
	for _, line := range truth {
		var from uint32
		var target, number int
		_, err := fmt.Sscanf(line, "%d\t%d\t%d", &from, &target, &number)
		ok(t, err)
		name := signalName(uint32(number))
		result := "delivered"
		if name == "SIGUSR2" {
			result = "ignored"
		}
		sent := slices.ContainsFunc(events, func(e *describe.Event) bool {
			s := e.Payload.(*describe.Signal)
			return int(e.TID) == target && s.Signal == name && s.From == from && (from != 0 || s.Sender == "kernel") && s.Result == result
		})
		if !sent {
			t.Errorf("no event for %s from %d to %d, %s", name, from, target, result)
		}
	}
}

// A connection belongs to who accepts it, not to who listens or serves: ten each to a worker of the listener's maker, to a
// process that passes them on, and to one whose listener's maker has ended. (weaveworks/scope#2253, univrsal/waechter#95,
// iovisor/bcc#2304)
func TestWhoServesAConnection(t *testing.T) {
	truth, events, ledger := startField(t, "served").trace(t, 0, "tcp")
	checkBalanced(t, ledger, len(events))
	accepted, closed, passed := map[uint16]uint32{}, map[uint16]int{}, 0
	for _, e := range events {
		switch c := e.Payload.(*describe.TCP); c.Op {
		case "accept":
			accepted[c.Remote.Port()] = e.PID
		case "close":
			if accepted[c.Remote.Port()] != 0 { // the server's side
				closed[c.Remote.Port()]++
			}
		}
	}
	if len(truth) != 30 || len(accepted) != 30 {
		t.Errorf("%d connections were served, %d accepted", len(truth), len(accepted))
	}
	for _, line := range truth {
		var port uint16
		var by, servedBy uint32
		_, err := fmt.Sscanf(line, "%d\t%d\t%d", &port, &by, &servedBy)
		ok(t, err)
		if servedBy != by {
			passed++
		}
		if accepted[port] != by || closed[port] != 1 {
			t.Errorf("connection from port %d: accepted by %d, %d closes, want %d and 1", port, accepted[port], closed[port], by)
		}
	}
	if passed != 10 {
		t.Errorf("%d connections were passed on, want 10", passed)
	}
}
