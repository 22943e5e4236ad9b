package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// startLimit bounds how long a tool may take to attach.
const startLimit = 30 * time.Second

// worker is a program to trace, in a mount namespace of its own. It waits for a line before it works.
type worker struct {
	*exec.Cmd
	in io.WriteCloser
}

// startWorker starts a program that does some work: see doWork.
func startWorker(work string) (*worker, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, "-work", work)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	return &worker{cmd, in}, cmd.Start()
}

// work has the program work, and returns how long it took from the line to the program's end.
func (w *worker) work() (time.Duration, error) {
	begin := time.Now()
	if _, err := io.WriteString(w.in, "go\n"); err != nil {
		return 0, err
	}
	err := w.Wait()
	return time.Since(begin), err
}

// What the work is.
const (
	callCount = 1_000_000 // read and write, in turn
	openCount = 500_000
	recordFor = 30 * time.Second
)

// doWork waits for a line, and makes many system calls.
func doWork(what string) {
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
	buffer := make([]byte, 1)
	zero, err := unix.Open("/dev/zero", unix.O_RDONLY, 0)
	null, err2 := unix.Open("/dev/null", unix.O_WRONLY, 0)
	if err != nil || err2 != nil {
		os.Exit(1)
	}
	call := func(times int) {
		for range times / 2 {
			_, _ = unix.Read(zero, buffer)
			_, _ = unix.Write(null, buffer)
		}
	}
	switch what {
	case "calls":
		call(callCount)
	case "calls for a time":
		for begin := time.Now(); time.Since(begin) < recordFor; {
			call(10_000)
		}
	case "opens":
		for range openCount {
			if fd, err := unix.Open("/etc/hostname", unix.O_RDONLY, 0); err == nil {
				_ = unix.Close(fd)
			}
		}
	}
}

// tool is a tracer whose output goes to a regular file.
type tool struct {
	*exec.Cmd
	out string // path
	in  io.Closer
}

// startTool starts a tracer, and returns when its output or its messages show that it has attached.
func (b *bench) startTool(attached string, name string, args ...string) (*tool, error) {
	cmd := exec.Command(name, args...)
	t := &tool{Cmd: cmd, out: b.dir + "/out"}
	out, err := os.Create(t.out)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	errs, err := os.Create(b.dir + "/err")
	if err != nil {
		return nil, err
	}
	defer errs.Close()
	cmd.Stdout, cmd.Stderr = out, errs
	if t.in, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(startLimit); ; time.Sleep(time.Millisecond) {
		for _, path := range []string{t.out, b.dir + "/err"} {
			if text, err := os.ReadFile(path); err == nil && bytes.Contains(text, []byte(attached)) {
				return t, nil
			}
		}
		if time.Now().After(deadline) {
			text, _ := os.ReadFile(b.dir + "/err")
			return nil, errors.Join(fmt.Errorf("%s has not attached within %s: %s", name, startLimit, text), cmd.Process.Kill(), cmd.Wait())
		}
	}
}

// stop ends the tool, and returns the CPU time that it took.
func (t *tool) stop() (time.Duration, error) {
	if err := t.in.Close(); err != nil {
		return 0, err
	}
	if !strings.HasSuffix(t.Path, "osc-tracer") {
		if err := t.Process.Signal(syscall.SIGINT); err != nil {
			return 0, err
		}
	}
	err := t.Wait()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && !strings.HasSuffix(t.Path, "osc-tracer") {
		err = nil // peers end by the signal
	}
	return t.ProcessState.UserTime() + t.ProcessState.SystemTime(), err
}

// lines counts the lines of the tool's output that contain a text.
func (t *tool) lines(text string) (n int, err error) {
	f, err := os.Open(t.out)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	scanner := bufio.NewScanner(f)
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		if bytes.Contains(scanner.Bytes(), []byte(text)) {
			n++
		}
	}
	return n, scanner.Err()
}

// ledger returns how many events the tracer delivered, and how many it lost.
func (t *tool) ledger() (delivered, lost uint64, err error) {
	f, err := os.Open(t.out)
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	scanner := bufio.NewScanner(f)
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		if !bytes.Contains(scanner.Bytes(), []byte(`"kind":"ledger"`)) {
			continue
		}
		var frame struct {
			Ledger struct{ Delivered, LostInKernel, Dropped, Missed uint64 }
		}
		if err := json.Unmarshal(scanner.Bytes(), &frame); err != nil {
			return 0, 0, err
		}
		delivered += frame.Ledger.Delivered
		lost += frame.Ledger.LostInKernel + frame.Ledger.Dropped + frame.Ledger.Missed
	}
	return delivered, lost, scanner.Err()
}

// anyContainer are arguments by which the tracer takes the only mount namespace beside its own and that of process 1.
var anyContainer = []string{"--container-id=" + strings.Repeat("0", 64), "--container-name=none"}

// startTracer starts our tracer with gadgets.
func (b *bench) startTracer(gadgets string, more ...string) (*tool, error) {
	last := gadgets[strings.LastIndex(gadgets, ",")+1:]
	args := append([]string{"run", "--gadgets=" + gadgets}, anyContainer...)
	return b.startTool(`"gadget":"`+last+`","status"`, b.tracer(), append(args, more...)...)
}

// need returns an error if programs are missing.
func need(programs ...string) error {
	var missing []string
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			missing = append(missing, p)
		}
	}
	if missing != nil {
		return fmt.Errorf("install first: apt-get install bpftrace libbpf-tools strace (missing: %s)", list(missing))
	}
	return nil
}
