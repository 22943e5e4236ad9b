package capture

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/osc-debug/osc-debug/pkg/trace/pcapng"
)

// inNewNetwork runs a test's goroutine, and the programs that it starts, in a network namespace of their own, which ends with
// the goroutine. It has a loopback and a pair of interfaces, v0 and v1.
func inNewNetwork(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, as the sidecar has it")
	}
	runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
	ok(t, unix.Unshare(unix.CLONE_NEWNET))
	command(t, "ip", "link", "set", "lo", "up")
	command(t, "ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1")
	for _, name := range []string{"v0", "v1"} {
		ok(t, os.WriteFile("/proc/sys/net/ipv6/conf/"+name+"/disable_ipv6", []byte("1"), 0)) // no packets of its own
		command(t, "ip", "link", "set", name, "up")
	}
}

func command(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v: %s", name, args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// captured captures while send runs, and returns the file and what was counted. The goroutine must be in its own network.
func captured(t *testing.T, o Options, send func()) (path string, counted map[string]pcapng.Statistics) {
	t.Helper()
	var file bytes.Buffer
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	counted, err := Run(ctx, o, &file, func([]string) { send(); stop() })
	ok(t, err)
	path = filepath.Join(t.TempDir(), "packets.pcapng")
	ok(t, os.WriteFile(path, file.Bytes(), 0o600))
	return path, counted
}

// packets returns how many packets of a file pass a display filter of tshark.
func packets(t *testing.T, path, filter string) int {
	t.Helper()
	out := command(t, "tshark", "-r", path, "-T", "fields", "-e", "frame.number", "-Y", filter)
	n := 0
	for line := range strings.Lines(out + "\n") {
		if _, err := strconv.Atoi(strings.TrimSpace(line)); err == nil {
			n++
		}
	}
	return n
}

const rounds = 10 // of frames, one of each kind in a round

// waitForPackets returns a function that waits until an interface has received so many packets more, as the kernel counts
// them: after that, captures have seen them.
func waitForPackets(t *testing.T, device string, more int) func() {
	t.Helper()
	want := received(t, device) + more
	return func() {
		for received(t, device) < want {
			time.Sleep(10 * time.Millisecond)
		}
	}
}

// received returns how many packets an interface of the goroutine's network has received.
func received(t *testing.T, device string) int {
	t.Helper()
	text, err := os.ReadFile("/proc/thread-self/net/dev")
	ok(t, err)
	_, rest, _ := strings.Cut(string(text), device+":")
	n, err := strconv.Atoi(strings.Fields(rest)[1])
	ok(t, err)
	return n
}

// sendFrames sends, from v1, frames with VLAN 5, with a priority only, and without a tag.
func sendFrames(t *testing.T) {
	t.Helper()
	device, err := net.InterfaceByName("v1")
	ok(t, err)
	socket, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	ok(t, err)
	defer unix.Close(socket)
	defer waitForPackets(t, "v0", 3*rounds)()
	for range rounds {
		for _, tag := range [][]byte{{0x81, 0, 0, 5}, {0x81, 0, 6 << 5, 0}, nil} {
			ok(t, unix.Sendto(socket, udpFrame(tag), 0, &unix.SockaddrLinklayer{Ifindex: device.Index}))
		}
	}
}

// udpFrame returns a frame with a UDP datagram to port 9009.
func udpFrame(tag []byte) []byte {
	frame := append([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1}, tag...)
	frame = append(frame, 8, 0)
	frame = append(frame, 0x45, 0, 0, 35, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2)
	frame = append(frame, 0x9c, 0x40, 9009>>8, 9009&0xff, 0, 15, 0, 0)
	return append(frame, "payload"...)
}

// Frames have the VLAN tags that the kernel took off, and filters select the same frames as tcpdump's at the same interface,
// also those that the same words would not select in a file.
func TestVLANTagsAndDirections(t *testing.T) {
	inNewNetwork(t)
	for filter, want := range map[string]int{
		"": 3 * rounds, "vlan 5": rounds, "vlan": 2 * rounds, "udp port 9009": 3 * rounds, "inbound": 3 * rounds, "outbound": 0,
	} {
		var said *waiter
		path, counted := captured(t, Options{Interfaces: []string{"v0"}, Snaplen: pcapng.MaxSnaplen, Filter: filter}, func() {
			tcpdump := exec.Command("tcpdump", "-i", "v0", "-w", "/dev/null", filter)
			said = &waiter{text: "listening on", found: make(chan struct{})}
			tcpdump.Stderr = said
			ok(t, tcpdump.Start())
			<-said.found
			sendFrames(t)
			ok(t, tcpdump.Process.Signal(os.Interrupt))
			ok(t, tcpdump.Wait())
		})
		if got := packets(t, path, "frame"); got != want || counted["v0"] != (pcapng.Statistics{Received: uint64(want), Delivered: uint64(want)}) {
			t.Errorf("filter %q: %d frames, counted %+v, want %d", filter, got, counted, want)
		}
		// What it captured may be less: it filters the first packet again, without knowing its direction.
		if text := fmt.Sprintf("\n%d packets received by filter", want); !strings.Contains(said.got.String(), text) {
			t.Errorf("filter %q: tcpdump says %s, want %s", filter, said.got.String(), text)
		}
		if filter != "" {
			continue
		}
		for display, want := range map[string]int{
			"vlan.id == 5": rounds, "vlan.priority == 6": rounds, "!vlan": rounds, "frame.len == 53": 2 * rounds, "frame.len == 49": rounds,
			"udp.dstport == 9009": 3 * rounds, "frame.packet_flags_direction == 1": 3 * rounds,
		} {
			if got := packets(t, path, display); got != want {
				t.Errorf("%s: %d frames, want %d", display, got, want)
			}
		}
	}
}

// waiter waits until a text was written.
type waiter struct {
	text  string
	got   bytes.Buffer
	found chan struct{}
}

func (w *waiter) Write(p []byte) (int, error) {
	was := strings.Contains(w.got.String(), w.text)
	w.got.Write(p)
	if !was && strings.Contains(w.got.String(), w.text) {
		close(w.found)
	}
	return len(p), nil
}

// A packet at the loopback is captured once, and cut to the length that was asked for. What is sent while nobody reads is
// counted exactly: captured or dropped.
func TestLoopbackLengthsAndDrops(t *testing.T) {
	inNewNetwork(t)
	const sent, length = 200_000, 96 // more than the ring has room for
	path, counted := captured(t, Options{Interfaces: []string{"lo"}, Snaplen: length, Filter: "udp"}, func() {
		socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		ok(t, err)
		defer unix.Close(socket)
		defer waitForPackets(t, "lo", sent)()
		to := &unix.SockaddrInet4{Port: 9, Addr: [4]byte{127, 0, 0, 1}}
		for range sent {
			_ = unix.Sendto(socket, make([]byte, 1000), 0, to) // ECONNREFUSED, from the one before
		}
	})
	s := counted["lo"]
	written := packets(t, path, "udp && frame.cap_len == 96 && frame.len == 1042")
	if s.Received != sent || s.Received != s.Delivered+s.Dropped || s.Dropped == 0 || s.Delivered != uint64(written) {
		t.Errorf("sent %d, counted %+v, %d in the file", sent, s, written)
	}
}

// What cannot be captured is rejected before the capture begins, with the reason.
func TestRejected(t *testing.T) {
	inNewNetwork(t)
	for _, c := range []struct {
		o    Options
		want string
	}{
		{Options{Snaplen: 96, Filter: "tcp prot 80"}, "syntax error"},
		{Options{Snaplen: 96, Filter: "-w /tmp/x"}, "syntax error"},
		{Options{Snaplen: 96, Interfaces: []string{"eth7"}}, `no interface "eth7"`},
	} {
		_, err := Run(t.Context(), c.o, &bytes.Buffer{}, func([]string) { t.Error("it captured") })
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.o, err, c.want)
		}
	}
}
