//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
)

// checkCapture captures users' requests in the sandbox. tshark reads them from a pipe while they are captured, and the kernel
// drops none.
func (e *env) checkCapture(host string) {
	e.t.Helper()
	const requests = 5
	read, write, err := os.Pipe()
	e.ok(err)
	seen := &lines{}
	tshark := exec.CommandContext(e.t.Context(), "tshark", "-l", "-n", "-r", "-", "-Y", fmt.Sprintf("http.request && http.host == %q", host), "-T", "fields", "-e", "http.request.uri")
	tshark.Stdin, tshark.Stdout = read, seen
	e.ok(tshark.Start())
	capture := e.startWithOutput(write, "capture", "tcp port 8080")
	e.ok(write.Close())
	e.ok(read.Close())
	e.eventually("the capture runs", func() bool { return strings.Contains(capture.progress.String(), "capturing at") })
	for range requests {
		e.get(host)
	}
	e.eventuallyPolled("tshark has read the requests while they are captured", func() bool { return seen.count() == requests })
	capture.signal(syscall.SIGINT)
	if r := capture.wait(); r.code != 0 || !r.mentions("captured + 0 dropped by the kernel") {
		e.t.Errorf("capture: %s", r)
	}
	e.ok(tshark.Wait())
	if seen.count() != requests {
		e.t.Errorf("tshark read %d requests, want %d", seen.count(), requests)
	}
	if r := e.cli("capture", "tcp prot 80"); r.code == 0 || !r.mentions("syntax error") {
		e.t.Errorf("a capture with a wrong filter: %s", r)
	}
}

// lines counts the lines that a program writes.
type lines struct {
	mu sync.Mutex
	n  int
}

// Write implements io.Writer.
func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.n += strings.Count(string(p), "\n")
	return len(p), nil
}

func (l *lines) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.n
}
