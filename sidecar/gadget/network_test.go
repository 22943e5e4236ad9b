package gadget

import (
	"net"
	"os"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"

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
