//go:build e2e

package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/osc-debug/osc-debug/pkg/reason"
)

// result is a finished command.
type result struct {
	code        int
	out, errOut string
}

func (r result) String() string { return fmt.Sprintf("exit %d\n%s%s", r.code, r.out, r.errOut) }

// reports says whether the command printed a refusal, warning or failure with a code.
func (r result) reports(code reason.Code) bool { return hasCode(r.errOut, code) }

// mentions says whether the command's standard error contains all values.
func (r result) mentions(values ...string) bool {
	return !slices.ContainsFunc(values, func(v string) bool { return !strings.Contains(r.errOut, v) })
}

// hasCode says whether progress contains a message with a code, in text or JSON.
func hasCode(progress string, code reason.Code) bool {
	return strings.Contains(progress, "("+string(code)+")") || strings.Contains(progress, fmt.Sprintf(`"code":%q`, code))
}

// running is a process that the test started.
type running struct {
	e        *env
	cmd      *exec.Cmd
	out      outputBuffer
	progress outputBuffer
	done     chan struct{}
	err      error
}

// outputBuffer collects a process's output and wakes those who wait for more of it.
type outputBuffer struct {
	mu        sync.Mutex
	text      bytes.Buffer
	more      chan struct{}
	namespace string // its tests wait for this output; see changes
}

func (w *outputBuffer) Write(p []byte) (int, error) {
	defer changed.notify(w.namespace)
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case w.more <- struct{}{}:
	default:
	}
	return w.text.Write(p)
}

func (w *outputBuffer) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

// start runs the command as a user of the cluster, in the test's namespace.
func (e *env) start(user string, args ...string) *running {
	e.t.Helper()
	cmd := exec.Command(binary, append([]string{"-n", e.ns}, args...)...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig(user))
	return e.startProcess(cmd)
}

// startWithOutput runs the command as alice and sends its standard output to a file.
func (e *env) startWithOutput(out *os.File, args ...string) *running {
	e.t.Helper()
	cmd := exec.Command(binary, append([]string{"-n", e.ns}, args...)...)
	cmd.Env, cmd.Stdout = append(os.Environ(), "KUBECONFIG="+kubeconfig("alice")), out
	return e.startProcess(cmd)
}

// startProcess starts a program, which is ended after the test at the latest.
func (e *env) startProcess(cmd *exec.Cmd) *running {
	e.t.Helper()
	r := &running{e: e, cmd: cmd, done: make(chan struct{})}
	r.out.more, r.progress.more = make(chan struct{}, 1), make(chan struct{}, 1)
	r.out.namespace, r.progress.namespace = e.ns, e.ns
	if r.cmd.Stderr = &r.progress; r.cmd.Stdout == nil {
		r.cmd.Stdout = &r.out
	}
	e.mu.Lock()
	e.commands = append(e.commands, r)
	e.mu.Unlock()
	e.ok(r.cmd.Start())
	go func() { r.err = r.cmd.Wait(); close(r.done); changed.notify(e.ns) }()
	e.t.Cleanup(r.end)
	return r
}

// end ends a process that still runs. It kills it, but where coverage is measured it first sends
// SIGTERM so that the process writes its coverage data.
func (r *running) end() {
	if os.Getenv("GOCOVERDIR") != "" {
		r.signal(syscall.SIGTERM)
		select {
		case <-r.done:
			return
		case <-time.After(10 * time.Second):
		}
	}
	_ = r.cmd.Process.Kill()
	<-r.done
}

func kubeconfig(user string) string {
	if filepath.IsAbs(user) {
		return user
	}
	return filepath.Join(state, user+".conf")
}

// shift starts a session of alice without a guard; later flags override earlier ones.
func (e *env) shift(args ...string) *running {
	e.t.Helper()
	return e.start("alice", append([]string{"shift", "--route", "shop", "--router", routerIP, "--drain", "1s", "--no-guard"}, args...)...)
}

// reaches waits until the command prints a step; it returns false if the command ended before.
func (r *running) reaches(step string) bool {
	for {
		if strings.Contains(r.progress.String(), "s  "+step+" ") {
			return true
		}
		select {
		case <-r.progress.more:
		case <-r.done:
			return strings.Contains(r.progress.String(), "s  "+step+" ")
		case <-time.After(hang):
			r.e.t.Fatalf("the command did not reach step %s:\n%s", step, r.progress.String())
		}
	}
}

// reports says whether the command has printed a message with a code so far.
func (r *running) reports(code reason.Code) bool { return hasCode(r.progress.String(), code) }

func (r *running) signal(s syscall.Signal) { _ = r.cmd.Process.Signal(s) }

// wait waits until the command ends and returns its result.
func (r *running) wait() result {
	r.e.t.Helper()
	select {
	case <-r.done:
	case <-time.After(hang):
		r.signal(syscall.SIGQUIT) // a Go program then prints the stack of each goroutine
		select {
		case <-r.done:
		case <-time.After(5 * time.Second):
		}
		r.e.t.Fatalf("%v did not end:\n%s", r.cmd.Args, r.progress.String())
	}
	code := 0
	var exit *exec.ExitError
	if errors.As(r.err, &exit) {
		code = exit.ExitCode()
	}
	return result{code, r.out.String(), r.progress.String()}
}

// cli runs a command as alice and waits for its end.
func (e *env) cli(args ...string) result { return e.start("alice", args...).wait() }
