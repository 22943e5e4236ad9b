package gadget

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/osc-debug/osc-debug/pkg/trace/frame"
	describe "github.com/osc-debug/osc-debug/pkg/trace/gadget"
	"github.com/osc-debug/osc-debug/sidecar/target"
)

// TestMain runs the traced program if the test binary was started as such, in its own mount namespace.
func TestMain(m *testing.M) {
	if do := programs[os.Getenv(programKey)]; do != nil {
		do()
		return
	}
	os.Exit(m.Run())
}

// programKey is the variable whose value says which program the test binary is.
const programKey = "GADGET_TEST_PROGRAM"

// programs are the programs that the test binary can be.
var programs = map[string]func(){mixed: func() { whenTold(doAll) }}

// mixed is the program that does a bit of everything.
const mixed = "mixed"

const (
	opens = 300
	sends = 5000 // bytes, over each connection

	starts   = 3    // of /bin/true
	calls    = 1000 // of sched_get_priority_min
	failures = 20   // of getpgid, with ESRCH
	sleep    = 50 * time.Millisecond
)

// relativeDir is the directory in which the program opens a relative path.
const relativeDir = "/usr/lib"

// longPath is longer than what fits into an event.
var longPath = "/" + strings.Repeat("long/", 60)

// whenTold does something after each line on standard input.
func whenTold(do func()) {
	fmt.Println("ready")
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		do()
		fmt.Println("done")
	}
}

// doAll opens files and connections, starts programs, sends signals and makes other calls a known number of times.
func doAll() {
	for range opens {
		fd, err := unix.Open("/etc/hostname", unix.O_RDONLY, 0)
		if err == nil {
			unix.Close(fd)
		}
	}
	_, _ = unix.Open("/no/such/file", unix.O_RDONLY, 0)
	_, _ = unix.Open(longPath, unix.O_RDONLY, 0)
	_ = os.Chdir(relativeDir)
	_, _ = unix.Open("missing", unix.O_RDONLY, 0)
	first := listen("127.0.0.1:0")
	connectTo(first)
	second := listen(first.Addr().String()) // on the same port
	first.Close()
	connectTo(second)
	_, _ = net.DialTimeout("tcp", "127.0.0.1:1", time.Second)
	for range starts {
		_ = exec.Command("/bin/true", "an argument", "").Run()
	}
	_ = exec.Command("/no/such/program", "x").Run()
	_ = exec.Command("/bin/sh", "-c", "exit 7").Run()
	_ = exec.Command("/bin/sh", "-c", "kill -9 $$").Run()
	signal.Ignore(syscall.SIGUSR2)
	_ = unix.Kill(os.Getpid(), syscall.SIGUSR2)
	for range calls {
		_, _, _ = syscall.RawSyscall(unix.SYS_SCHED_GET_PRIORITY_MIN, 0, 0, 0)
	}
	for range failures {
		_, _ = unix.Getpgid(1 << 30)
	}
	pause := unix.NsecToTimespec(int64(sleep))
	_ = unix.Nanosleep(&pause, nil)
	time.Sleep(200 * time.Millisecond) // softirqs handle the last segments
}

// listen listens on a port that others may listen on too.
func listen(address string) net.Listener {
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) })
	}}
	listener, err := config.Listen(context.Background(), "tcp", address)
	if err != nil {
		os.Exit(1)
	}
	return listener
}

// connectTo makes a connection, sends some bytes over it, and closes it on both sides.
func connectTo(listener net.Listener) {
	accepted := make(chan net.Conn)
	go func() {
		c, _ := listener.Accept()
		_, _ = io.Copy(io.Discard, c)
		accepted <- c
	}()
	c, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		os.Exit(1)
	}
	_, _ = c.Write(make([]byte, sends))
	c.Close()
	(<-accepted).Close()
}

// trace runs the program that does a bit of everything under a gadget, and returns the program's PID, its events and the
// ledger.
func trace(t *testing.T, name string) (int, []*describe.Event, frame.Ledger) {
	t.Helper()
	return traceProgram(t, name, mixed)
}

// program is a traced program that waits for a line before it does something, and prints one afterwards.
type program struct {
	*exec.Cmd
	in  io.Writer
	out *bufio.Scanner
}

// start starts a program in its own mount namespace.
func start(t *testing.T, name string, env ...string) *program {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(append(os.Environ(), programKey+"="+name), env...)
	return startCommand(t, cmd)
}

// startCommand starts a command that waits for a line, in its own mount namespace.
func startCommand(t *testing.T, cmd *exec.Cmd) *program {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("loading BPF programs needs root: run the tests as root")
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	in, err := cmd.StdinPipe()
	ok(t, err)
	out, err := cmd.StdoutPipe()
	ok(t, err)
	ok(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	p := &program{cmd, in, bufio.NewScanner(out)}
	p.out.Scan() // ready
	return p
}

// do has the program do something once, waits for it, and returns the lines that it printed meanwhile.
func (p *program) do(t *testing.T) (lines []string) {
	t.Helper()
	_, err := io.WriteString(p.in, "go\n")
	ok(t, err)
	for p.out.Scan() {
		if p.out.Text() == "done" {
			return lines
		}
		lines = append(lines, p.out.Text())
	}
	t.Fatalf("the program ended after %q", lines)
	return nil
}

// traceProgram runs a program under a gadget.
func traceProgram(t *testing.T, name, program string, env ...string) (int, []*describe.Event, frame.Ledger) {
	t.Helper()
	return traceSlower(t, describe.SlowCall, name, program, env...)
}

// traceSlower is traceProgram with a threshold of slow calls.
func traceSlower(t *testing.T, than time.Duration, name, program string, env ...string) (int, []*describe.Event, frame.Ledger) {
	t.Helper()
	p := start(t, program, env...)
	_, events, ledger := p.trace(t, than, name)
	return p.Process.Pid, events, ledger
}

// trace has the program do something under a gadget, and returns what it printed, its events and the ledger.
func (p *program) trace(t *testing.T, than time.Duration, name string) ([]string, []*describe.Event, frame.Ledger) {
	t.Helper()
	gadgets, err := describe.Lookup([]string{name})
	ok(t, err)
	starter, err := NewStarter(targetOf(t, p.Process.Pid))
	ok(t, err)
	starter.SlowerThan = than
	running, err := starter.Start(gadgets[0])
	ok(t, err)
	if running.Lacks != "" {
		t.Errorf("%s does not see all: %s", name, running.Lacks)
	}
	type result struct {
		ledger frame.Ledger
		err    error
	}
	var events []*describe.Event
	finished := make(chan result)
	go func() {
		ledger, err := running.Read(func(e *describe.Event) (bool, error) { events = append(events, e); return true, nil }, func() {})
		finished <- result{ledger, err}
	}()
	lines := p.do(t)
	ok(t, running.Stop())
	r := <-finished
	ok(t, r.err)
	return lines, events, r.ledger
}

func targetOf(t *testing.T, pid int) *target.Target {
	t.Helper()
	inode := func(path string) uint64 {
		var st unix.Stat_t
		ok(t, unix.Stat(path, &st))
		return st.Ino
	}
	var st unix.Stat_t
	ok(t, unix.Stat("/proc/self/ns/pid", &st))
	dir := filepath.Join("/proc", fmt.Sprint(pid), "ns")
	return &target.Target{
		MountNS: uint32(inode(dir + "/mnt")), NetNS: uint32(inode("/proc/self/ns/net")),
		PIDNSDev: st.Dev, PIDNSIno: st.Ino,
	}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func checkBalanced(t *testing.T, l frame.Ledger, events int) {
	t.Helper()
	if !l.Balanced() || l.LostKernel != 0 || l.Missed != 0 || l.Dropped != 0 || int(l.Delivered) != events {
		t.Errorf("ledger %s, %d events", l, events)
	}
}

func TestOpenSeesEveryOpenOfTheTargetAndNoOther(t *testing.T) {
	pid, events, ledger := trace(t, "open")
	checkBalanced(t, ledger, len(events))
	good, bad, cut := 0, 0, 0
	for _, e := range events {
		if child := e.Comm == "true" || e.Comm == "sh"; (int(e.PID) == pid) == child || !child && !strings.HasPrefix(e.Comm, "gadget.test") {
			t.Errorf("another process: %+v", e)
		}
		open := e.Payload.(*describe.Open)
		switch {
		case open.Path == "/etc/hostname" && open.FD >= 0:
			good++
		case open.Path == "/no/such/file" && open.Error == "ENOENT" && open.FD == -1:
			bad++
		case open.Cut && len(open.Path) == 255 && strings.HasPrefix(longPath, open.Path):
			cut++
		}
	}
	if relative := slices.ContainsFunc(events, func(e *describe.Event) bool { return e.Payload.(*describe.Open).Full() == relativeDir+"/missing" }); !relative {
		t.Errorf("the relative path was not seen with its directory %s", relativeDir)
	}
	if cut != 1 {
		t.Errorf("the path that does not fit into an event was seen %d times, expected once, cut", cut)
	}
	if good != opens || bad != 1 {
		t.Errorf("%d good and %d failed opens, expected %d and 1", good, bad, opens)
	}
}

func TestTCPSeesConnectionsWithTheirBytes(t *testing.T) {
	pid, events, ledger := trace(t, "tcp")
	checkBalanced(t, ledger, len(events))
	var connect, accept, refused, closed int
	for _, e := range events {
		if int(e.PID) != pid {
			t.Errorf("another process: %+v", e)
		}
		tcp := e.Payload.(*describe.TCP)
		switch {
		case tcp.Op == "connect" && tcp.Error == "ECONNREFUSED":
			refused++
		case tcp.Op == "connect":
			connect++
		case tcp.Op == "accept":
			accept++
		case tcp.Op == "close":
			closed++
			if !(tcp.Sent == sends && tcp.Received == 0 || tcp.Sent == 0 && tcp.Received == sends) {
				t.Errorf("bytes: %+v", tcp)
			}
			if tcp.Local.Port() == 0 || tcp.Took <= 0 {
				t.Errorf("port or duration missing: %+v", tcp)
			}
		}
	}
	if connect != 2 || accept != 2 || refused != 1 || closed != 4 {
		t.Errorf("%d connects, %d accepts, %d refused, %d closed: expected 2, 2, 1, 4", connect, accept, refused, closed)
	}
}

func TestExecSeesProgramsThatStartAndThoseThatDoNot(t *testing.T) {
	pid, events, ledger := trace(t, "exec")
	checkBalanced(t, ledger, len(events))
	good, bad, shells := 0, 0, 0
	for _, e := range events {
		x := e.Payload.(*describe.Exec)
		switch {
		case x.File == "/bin/true" && x.Error == "" && slices.Equal(x.Args, []string{"/bin/true", "an argument", ""}):
			good++
		case x.File == "/no/such/program" && x.Error == "ENOENT" && slices.Equal(x.Args, []string{"/no/such/program", "x"}):
			bad++
		case x.File == "/bin/sh":
			shells++
		default:
			t.Errorf("%+v", x)
		}
		if int(x.Parent) != pid || e.PID == 0 || x.Cut {
			t.Errorf("%+v %+v, want parent %d", e, x, pid)
		}
	}
	if good != starts || bad != 1 || shells != 2 {
		t.Errorf("%d programs started, %d failed, %d shells, want %d, 1, 2", good, bad, shells, starts)
	}
}

func TestExitSeesHowProcessesEnd(t *testing.T) {
	pid, events, ledger := trace(t, "exit")
	checkBalanced(t, ledger, len(events))
	ends := map[string]int{}
	for _, e := range events {
		x := e.Payload.(*describe.Exit)
		ends[x.Key()]++
		if x.Lived <= 0 || x.Lived > time.Minute || int(e.PID) == pid || e.PID == 0 {
			t.Errorf("%+v %+v", e, x)
		}
		if x.Signal != "" && x.Code != 128+int32(unix.SignalNum(x.Signal)) {
			t.Errorf("code %d for %s", x.Code, x.Signal)
		}
	}
	// Go's first child tries a system call, and ends.
	want := map[string]int{"code 0": starts + 1, "code 7": 1, "SIGKILL": 1, "code 253": 1} // 253: Go's child whose exec fails
	if !maps.Equal(ends, want) {
		t.Errorf("ends %v, want %v", ends, want)
	}
}

func TestSignalSeesWhoSentWhatToWhom(t *testing.T) {
	pid, events, ledger := trace(t, "signal")
	checkBalanced(t, ledger, len(events))
	got := map[string]int{}
	for _, e := range events {
		s := e.Payload.(*describe.Signal)
		switch s.Signal {
		case "SIGURG": // of Go's scheduler
		case "SIGUSR2":
			got[fmt.Sprintf("SIGUSR2 %t %s", int(s.From) == pid && int(e.PID) == pid && s.Code == 0, s.Result)]++
		case "SIGKILL":
			got[fmt.Sprintf("SIGKILL %t %s", s.From == e.PID && s.Sender == "sh", s.Result)]++
		case "SIGCHLD":
			got[fmt.Sprintf("SIGCHLD %s %t", s.Sender, int(e.PID) == pid)]++
		default:
			t.Errorf("%+v %+v", e, s)
		}
	}
	want := map[string]int{"SIGUSR2 true ignored": 1, "SIGKILL true delivered": 1, "SIGCHLD kernel true": starts + 3}
	if !maps.Equal(got, want) {
		t.Errorf("signals %v, want %v", got, want)
	}
}

func TestSyscallsCountsCallsErrorsAndDurations(t *testing.T) {
	_, events, ledger := trace(t, "syscalls")
	seen := uint64(0)
	found := map[string]*describe.Syscalls{}
	for _, e := range events {
		s := e.Payload.(*describe.Syscalls)
		found[s.Name] = s
		seen += s.Count
		if in := sum(s.Buckets); in != s.Count {
			t.Errorf("%s: %d calls, %d in the buckets", s.Name, s.Count, in)
		}
	}
	if !ledger.Balanced() || ledger.Lost() || ledger.Delivered != seen {
		t.Errorf("ledger %s, %d calls", ledger, seen)
	}
	if s := found["sched_get_priority_min"]; s == nil || s.Count != calls || s.Errors != nil || s.Total <= 0 {
		t.Errorf("sched_get_priority_min: %+v, want %d calls", s, calls)
	}
	if s := found["getpgid"]; s == nil || s.Count != failures || !maps.Equal(s.Errors, map[string]uint64{"ESRCH": failures}) {
		t.Errorf("getpgid: %+v, want %d calls with ESRCH", s, failures)
	}
	if s := found["openat"]; s == nil || s.Count < opens || s.Errors["ENOENT"] < 1 {
		t.Errorf("openat: %+v, want at least %d calls, some with ENOENT", s, opens)
	}
}

func TestSlowSeesCallsThatTakeLong(t *testing.T) {
	_, events, ledger := trace(t, "slow")
	checkBalanced(t, ledger, len(events))
	slept := 0
	for _, e := range events {
		s := e.Payload.(*describe.Slow)
		if s.Took < 10*time.Millisecond {
			t.Errorf("not slow: %+v", s)
		}
		if s.Name == "nanosleep" && s.Took >= sleep && s.Took < 10*sleep && s.Result == 0 {
			slept++
		}
	}
	if slept < 1 {
		t.Errorf("the sleep of %s was not seen in %d slow calls", sleep, len(events))
	}
}

// Without a threshold, slow has every call of every kind.
func TestSlowWithoutAThreshold(t *testing.T) {
	_, events, ledger := traceSlower(t, 0, "slow", mixed)
	checkBalanced(t, ledger, len(events))
	made, failed := 0, 0
	for _, e := range events {
		s := e.Payload.(*describe.Slow)
		switch {
		case s.Name == "sched_get_priority_min":
			made++
		case s.Name == "getpgid" && s.Error == "ESRCH":
			failed++
		}
	}
	if made != calls || failed != failures {
		t.Errorf("%d calls of sched_get_priority_min and %d of getpgid, want %d and %d", made, failed, calls, failures)
	}
}

func TestAnUnknownGadgetIsAnError(t *testing.T) {
	starter, err := NewStarter(&target.Target{})
	ok(t, err)
	if _, err := starter.Start(describe.Gadget{Name: "magic"}); err == nil {
		t.Error("no error")
	}
}
