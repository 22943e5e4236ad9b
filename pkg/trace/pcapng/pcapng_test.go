package pcapng

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// tshark reads back what was written: interfaces, times, lengths, directions and comments, whatever their lengths are.
func TestTsharkReadsIt(t *testing.T) {
	if _, err := exec.LookPath("tshark"); err != nil && os.Geteuid() != 0 {
		t.Skip("needs tshark; 'make unit' installs it as root")
	}
	var file bytes.Buffer
	w, err := NewWriter(&file, "osc-debug")
	ok(t, err)
	ok(t, w.AddInterface(Interface{Name: "lo", Snaplen: 96}))
	ok(t, w.AddInterface(Interface{Name: "eth0", Snaplen: 96, Filter: "udp port 53"}))
	at := time.Unix(1_796_000_000, 123_456_789)
	var want []string
	for n, length := range []int{42, 43, 44, 45, 1500} {
		frame := make([]byte, length)
		kept := frame[:min(length, 96)]
		comment := strings.Repeat("c", n)
		ok(t, w.WritePacket(Packet{Interface: n % 2, Time: at, Data: kept, Length: length, Direction: Outbound, Comment: comment}))
		want = append(want, strings.Join([]string{[]string{"lo", "eth0"}[n%2], "1796000000.123456789", strconv.Itoa(length), strconv.Itoa(len(kept)), comment}, "|"))
	}
	ok(t, w.WriteStatistics(1, at, Statistics{Received: 3, Dropped: 1, Delivered: 2}))
	path := filepath.Join(t.TempDir(), "packets.pcapng")
	ok(t, os.WriteFile(path, file.Bytes(), 0o600))
	out, err := exec.Command("tshark", "-r", path, "-T", "fields", "-E", "separator=|", "-Y", "frame.packet_flags_direction == 2",
		"-e", "frame.interface_name", "-e", "frame.time_epoch", "-e", "frame.len", "-e", "frame.cap_len", "-e", "frame.comment").Output()
	ok(t, err)
	if got := strings.Fields(string(out)); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("tshark read\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// A packet of an interface that nobody described is an error: readers would reject the file.
func TestAPacketOfNoInterface(t *testing.T) {
	w, err := NewWriter(&bytes.Buffer{}, "osc-debug")
	ok(t, err)
	if err := w.WritePacket(Packet{}); err == nil {
		t.Error("it was written")
	}
}

// Each block is written at once, so that a file that is cut between two writes is whole.
func TestEachBlockIsOneWrite(t *testing.T) {
	var writes countingWriter
	w, err := NewWriter(&writes, "osc-debug")
	ok(t, err)
	ok(t, w.AddInterface(Interface{Name: "lo", Snaplen: 96}))
	ok(t, w.WritePacket(Packet{Data: make([]byte, 61), Length: 61, Comment: "a comment"}))
	if writes != 3 {
		t.Errorf("%d writes of 3 blocks", writes)
	}
}

type countingWriter int

func (w *countingWriter) Write(p []byte) (int, error) { *w++; return len(p), nil }

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
