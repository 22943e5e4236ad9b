package gadget

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/osc-debug/osc-debug/pkg/trace/frame"
	"github.com/osc-debug/osc-debug/sidecar/target"
)

// TestMain runs the traced program if the test binary was started as such, in its own mount namespace.
func TestMain(m *testing.M) {
	if os.Getenv("GADGET_TEST_PROGRAM") != "" {
		runProgram()
		return
	}
	os.Exit(m.Run())
}

const (
	opens = 300
	sends = 5000 // bytes, over one connection
)

// runProgram opens files and connections a known number of times after a line on standard input.
func runProgram() {
	fmt.Println("ready")
	in := bufio.NewReader(os.Stdin)
	if _, err := in.ReadString('\n'); err != nil {
		os.Exit(1)
	}
	for range opens {
		fd, err := unix.Open("/etc/hostname", unix.O_RDONLY, 0)
		if err == nil {
			unix.Close(fd)
		}
	}
	_, _ = unix.Open("/no/such/file", unix.O_RDONLY, 0)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		os.Exit(1)
	}
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
	_, _ = net.DialTimeout("tcp", "127.0.0.1:1", time.Second)
	time.Sleep(200 * time.Millisecond) // softirqs handle the last segments
	fmt.Println("done")
	_, _ = in.ReadString('\n')
}

// trace runs the program under a gadget and returns the program's PID, its events and the ledger.
func trace(t *testing.T, name string) (int, []*frame.Event, frame.Ledger) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("loading BPF programs needs root: run the tests as root")
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "GADGET_TEST_PROGRAM=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	in, err := cmd.StdinPipe()
	ok(t, err)
	out, err := cmd.StdoutPipe()
	ok(t, err)
	ok(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	lines := bufio.NewScanner(out)
	lines.Scan()

	running, err := Start(name, targetOf(t, cmd.Process.Pid))
	ok(t, err)
	type result struct {
		ledger frame.Ledger
		err    error
	}
	var events []*frame.Event
	finished := make(chan result)
	go func() {
		ledger, err := running.Read(func(e *frame.Event) error { events = append(events, e); return nil }, func() {})
		finished <- result{ledger, err}
	}()
	_, err = io.WriteString(in, "go\n")
	ok(t, err)
	lines.Scan()
	if lines.Text() != "done" {
		t.Fatalf("the program printed %q", lines.Text())
	}
	ok(t, running.Stop())
	r := <-finished
	ok(t, r.err)
	return cmd.Process.Pid, events, r.ledger
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
	if !l.Balanced() || l.LostKernel != 0 || l.Dropped != 0 || int(l.Delivered) != events {
		t.Errorf("ledger %s, %d events", l, events)
	}
}

func TestOpenSeesEveryOpenOfTheTargetAndNoOther(t *testing.T) {
	pid, events, ledger := trace(t, "open")
	checkBalanced(t, ledger, len(events))
	good, bad := 0, 0
	for _, e := range events {
		if int(e.PID) != pid || !strings.HasPrefix(e.Comm, "gadget.test") {
			t.Errorf("another process: %+v", e)
		}
		switch {
		case e.Open.Path == "/etc/hostname" && e.Open.FD >= 0:
			good++
		case e.Open.Path == "/no/such/file" && e.Open.Error == "ENOENT" && e.Open.FD == -1:
			bad++
		}
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
		switch {
		case e.TCP.Op == "connect" && e.TCP.Error == "ECONNREFUSED":
			refused++
		case e.TCP.Op == "connect":
			connect++
		case e.TCP.Op == "accept":
			accept++
		case e.TCP.Op == "close":
			closed++
			if !(e.TCP.Sent == sends && e.TCP.Received == 0 || e.TCP.Sent == 0 && e.TCP.Received == sends) {
				t.Errorf("bytes: %+v", e.TCP)
			}
			if e.TCP.Local.Port() == 0 || e.TCP.Took <= 0 {
				t.Errorf("port or duration missing: %+v", e.TCP)
			}
		}
	}
	if connect != 1 || accept != 1 || refused != 1 || closed != 2 {
		t.Errorf("%d connects, %d accepts, %d refused, %d closed: expected 1, 1, 1, 2", connect, accept, refused, closed)
	}
}

func TestAnUnknownGadgetIsAnError(t *testing.T) {
	if _, err := Start("magic", &target.Target{}); err == nil {
		t.Error("no error")
	}
}
