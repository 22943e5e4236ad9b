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

// because says whether a refusal, warning or failure with a code was told.
func (r result) because(code reason.Code) bool { return tells(r.errOut, code) }

// names says whether all values stand in what was told.
func (r result) names(values ...string) bool {
	return !slices.ContainsFunc(values, func(v string) bool { return !strings.Contains(r.errOut, v) })
}

// tells says whether progress has a message with a code.
func tells(progress string, code reason.Code) bool {
	return strings.Contains(progress, "("+string(code)+")")
}

// running is a command under way.
type running struct {
	e        *env
	cmd      *exec.Cmd
	out      watched
	progress watched
	done     chan struct{}
	err      error
}

// watched collects text and lets others wait for a word in it.
type watched struct {
	mu        sync.Mutex
	text      bytes.Buffer
	more      chan struct{}
	namespace string // whose tests wait for it: see changes
}

func (w *watched) Write(p []byte) (int, error) {
	defer changed.tell(w.namespace)
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case w.more <- struct{}{}:
	default:
	}
	return w.text.Write(p)
}

func (w *watched) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

// start runs the command as a user of the cluster.
func (e *env) start(user string, args ...string) *running {
	e.t.Helper()
	cmd := exec.Command(binary, append([]string{"-n", e.ns}, args...)...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig(user))
	return e.process(cmd)
}

// startInto runs the command as alice with its output going to a file.
func (e *env) startInto(out *os.File, args ...string) *running {
	e.t.Helper()
	cmd := exec.Command(binary, append([]string{"-n", e.ns}, args...)...)
	cmd.Env, cmd.Stdout = append(os.Environ(), "KUBECONFIG="+kubeconfig("alice")), out
	return e.process(cmd)
}

// process starts a program, which ends at the latest with the test.
func (e *env) process(cmd *exec.Cmd) *running {
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
	go func() { r.err = r.cmd.Wait(); close(r.done); changed.tell(e.ns) }()
	e.t.Cleanup(r.end)
	return r
}

// end ends a process that still runs: at once, or where its coverage is counted so that it writes
// that down.
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

// shift starts a session of alice's that no guard watches; more flags override.
func (e *env) shift(args ...string) *running {
	e.t.Helper()
	return e.start("alice", append([]string{"shift", "--route", "shop", "--router", routerIP, "--drain", "1s", "--no-guard"}, args...)...)
}

// reaches waits until a step is announced; false when the command ended before.
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
			r.e.t.Fatalf("step %s was not reached:\n%s", step, r.progress.String())
		}
	}
}

// because says whether a message with a code was told so far.
func (r *running) because(code reason.Code) bool { return tells(r.progress.String(), code) }

func (r *running) signal(s syscall.Signal) { _ = r.cmd.Process.Signal(s) }

// wait returns when the command has ended.
func (r *running) wait() result {
	r.e.t.Helper()
	select {
	case <-r.done:
	case <-time.After(hang):
		r.signal(syscall.SIGQUIT) // Go programs then say where each goroutine stands
		select {
		case <-r.done:
		case <-time.After(5 * time.Second):
		}
		r.e.t.Fatalf("%v does not end:\n%s", r.cmd.Args, r.progress.String())
	}
	code := 0
	var exit *exec.ExitError
	if errors.As(r.err, &exit) {
		code = exit.ExitCode()
	}
	return result{code, r.out.String(), r.progress.String()}
}

// cli runs a command of alice's to its end.
func (e *env) cli(args ...string) result { return e.start("alice", args...).wait() }
