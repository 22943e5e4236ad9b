package gadget

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"

	"github.com/osc-debug/osc-debug/pkg/trace/frame"
	describe "github.com/osc-debug/osc-debug/pkg/trace/gadget"
)

// lossy is a program whose network loses segments and whose connections are reset.
const lossy = "lossy"

const (
	losses = 5 // segments that are lost, each once
	resets = 5 // connections that are reset
)

func init() { programs[lossy] = func() { whenTold(loseAndReset) } }

// loseAndReset has a connection on which the first transmission of each byte is lost, and connections that end with a
// reset.
func loseAndReset() {
	listener := listen("127.0.0.1:0")
	client, server := connection(listener)
	loseEverySecondSegment(server)
	buffer := make([]byte, 1)
	for range losses {
		_, _ = client.Write(buffer)
		_, _ = server.Read(buffer)
	}
	client.Close()
	server.Close()
	for range resets {
		client, server := connection(listener)
		_ = client.SetLinger(0)
		client.Close()
		_, _ = server.Read(make([]byte, 1))
		server.Close()
	}
}

// connection returns both ends of a new connection.
func connection(listener net.Listener) (client, server *net.TCPConn) {
	accepted := make(chan net.Conn)
	go func() {
		c, _ := listener.Accept()
		accepted <- c
	}()
	c, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		os.Exit(1)
	}
	return c.(*net.TCPConn), (<-accepted).(*net.TCPConn)
}

// loseEverySecondSegment makes a socket lose the first, third, fifth, … segment with data that it receives.
func loseEverySecondSegment(c *net.TCPConn) {
	count, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	if err != nil {
		os.Exit(1)
	}
	filter, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SocketFilter, License: "GPL", Instructions: asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.LoadAbs(12, asm.Byte), // length of the TCP header, in words, in the upper half
		asm.RSh.Imm(asm.R0, 4),
		asm.LSh.Imm(asm.R0, 2),
		asm.Mov.Reg(asm.R8, asm.R0),
		asm.LoadMem(asm.R7, asm.R6, 0, asm.Word), // length of header and data
		asm.JLE.Reg(asm.R7, asm.R8, "keep"),
		asm.StoreImm(asm.RFP, -4, 0, asm.Word),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, -4),
		asm.LoadMapPtr(asm.R1, count.FD()),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "keep"),
		asm.LoadMem(asm.R1, asm.R0, 0, asm.DWord),
		asm.Add.Imm(asm.R1, 1),
		asm.StoreMem(asm.R0, 0, asm.R1, asm.DWord),
		asm.And.Imm(asm.R1, 1),
		asm.JEq.Imm(asm.R1, 0, "keep"),
		asm.Mov.Imm(asm.R0, 0),
		asm.Return(),
		asm.Mov.Imm(asm.R0, -1).WithSymbol("keep"),
		asm.Return(),
	}})
	if err != nil {
		os.Exit(1)
	}
	raw, err := c.SyscallConn()
	if err != nil || raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_BPF, filter.FD()) }) != nil || err != nil {
		os.Exit(1)
	}
}

// Each segment that is lost is one retransmission, and each connection that is reset one reset on either side.
func TestTCPSeesResetsAndRetransmissions(t *testing.T) {
	_, events, ledger := traceProgram(t, "tcp", lossy)
	checkBalanced(t, ledger, len(events))
	kernel, err := btf.LoadKernelSpec()
	ok(t, err)
	hasReasons := len(argumentsOf(kernel, "tcp_send_reset")) >= 3
	seen := map[string]int{}
	retransmitted := uint32(0)
	for _, e := range events {
		c := e.Payload.(*describe.TCP)
		seen[c.Op]++
		if c.Op == "close" {
			retransmitted += c.Retransmitted
		}
		if c.Op == "reset sent" && c.Reason == "" && hasReasons {
			t.Errorf("a reset without its reason: %+v", c)
		}
	}
	if seen["retransmit"] != losses || retransmitted != losses {
		t.Errorf("%d retransmissions, and %d counted at the close, want %d", seen["retransmit"], retransmitted, losses)
	}
	if seen["reset sent"] != resets || seen["reset received"] != resets || seen["accept"] != resets+1 {
		t.Errorf("%v, want %d resets on either side and %d accepts", seen, resets, resets+1)
	}
}

// lingering is a program with connections that stay open for a while.
const lingering = "lingering"

const lingers = 3 // connections

func init() { programs[lingering] = func() { whenTold(linger) } }

func linger() {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		listener := listen(address)
		for range lingers {
			client, server := connection(listener)
			time.Sleep(3 * polledEvery)
			client.Close()
			server.Close()
		}
		listener.Close()
	}
	time.Sleep(3 * polledEvery)
}

// Without tracing, gadget tcp has the connections that stay open for some time, of the target's processes only, and says
// what it does not see.
func TestTCPByProc(t *testing.T) {
	p := start(t, lingering)
	starter, err := NewStarter(targetOf(t, p.Process.Pid))
	ok(t, err)
	running, err := starter.startPolled(tcpGadget, errors.New("as the test wants it"))
	ok(t, err)
	if running.State() != frame.Degraded || !strings.Contains(running.Lacks, "retransmissions") || !strings.Contains(running.Lacks, "as the test wants it") {
		t.Errorf("%s: %s", running.State(), running.Lacks)
	}
	var events []*describe.Event
	finished := make(chan frame.Ledger)
	go func() {
		ledger, err := running.Read(func(e *describe.Event) (bool, error) { events = append(events, e); return true, nil }, func() {})
		if err != nil {
			t.Error(err)
		}
		finished <- ledger
	}()
	others := listen("127.0.0.1:0") // a connection of this process, which is not the target
	client, server := connection(others)
	p.do(t)
	client.Close()
	server.Close()
	ok(t, running.Stop())
	if l := <-finished; !l.Balanced() || int(l.Delivered) != len(events) { // another program's connection may be missed
		t.Errorf("ledger %s, %d events", l, len(events))
	}
	seen := map[string]int{}
	for _, e := range events {
		c := e.Payload.(*describe.TCP)
		seen[fmt.Sprintf("%s %t", c.Op, c.Local.Addr().Is6())]++
		if int(e.PID) != p.Process.Pid || !strings.HasPrefix(e.Comm, "gadget.test") || !c.Local.Addr().IsLoopback() || !c.Remote.Addr().IsLoopback() || c.Local.Port() == 0 {
			t.Errorf("%+v %+v", e, c)
		}
		if c.Op == "close" && c.Took < polledEvery {
			t.Errorf("open for %s only", c.Took)
		}
	}
	want := map[string]int{"connect false": lingers, "accept false": lingers, "close false": 2 * lingers, "connect true": lingers, "accept true": lingers, "close true": 2 * lingers}
	if !maps.Equal(seen, want) {
		t.Errorf("%v, want %v", seen, want)
	}
}
