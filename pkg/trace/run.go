// Package trace is the client side of tracing: it runs the tracer in a sandbox over exec, and reads and
// prints the tracer's frames.
package trace

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/client-go/tools/remotecommand"

	"github.com/osc-debug/osc-debug/pkg/kube/exec"
	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/session/record"
	"github.com/osc-debug/osc-debug/pkg/terminal"
	"github.com/osc-debug/osc-debug/pkg/trace/frame"
	"github.com/osc-debug/osc-debug/pkg/trace/gadget"
)

// stopTimeout is how long a tracer may take to detach and send its ledgers.
const stopTimeout = 10 * time.Second

// Longest line of frames, and longest error output of a tracer, in bytes. Someone with root in the sandbox
// can send any.
const (
	maxFrame  = 64 << 10
	maxStderr = 64 << 10
)

// Request says what to trace.
type Request struct {
	Namespace string
	Pods      map[string]string // sandbox pod to the runtime ID of its traced container
	Container string            // name of the traced container
	Gadgets   []string          // names
	Filters   []string          // that an event must pass all: see package gadget
	// SlowerThan is how long a call takes at least to be an event of gadget slow.
	SlowerThan time.Duration
}

// Ledgers are the ledgers of one pod, by gadget.
type Ledgers map[string]frame.Ledger

// String returns all ledgers in one line.
func (l Ledgers) String() string {
	var parts []string
	for _, g := range gadget.Names() {
		if ledger, ok := l[g]; ok {
			parts = append(parts, g+": "+ledger.String())
		}
	}
	return strings.Join(parts, "; ")
}

// Lost reports whether a gadget lost events, or could not follow something.
func (l Ledgers) Lost() bool {
	for _, ledger := range l {
		if ledger.Lost() {
			return true
		}
	}
	return false
}

// Check loads the gadgets in all pods and detaches them again. It returns an error with reason GadgetsUnavailable if
// one cannot be loaded in a pod, or if a tracer cannot run.
func Check(checking context.Context, e exec.Client, r Request) error {
	var mu sync.Mutex
	var wg sync.WaitGroup
	var wrong []string
	add := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		wrong = append(wrong, fmt.Sprintf(format, args...))
	}
	for pod, id := range r.Pods {
		wg.Go(func() {
			ctx, stop := context.WithCancel(checking)
			defer stop()
			known := 0
			status := func(gadget string, s frame.Status) {
				if s.State != frame.Works && s.State != frame.Degraded {
					add("%s in %s: %s", gadget, pod, terminal.Line(s.Reason))
				}
				if known++; known == len(r.Gadgets) {
					stop() // detaches the gadgets
				}
			}
			if _, err := tracePod(ctx, e, r, pod, id, noPrinter{}, status, func(string) {}); err != nil && known < len(r.Gadgets) {
				if ended := context.Cause(checking); ended != nil {
					err = ended
				}
				add("%s: %v", pod, err)
			}
		})
	}
	wg.Wait()
	if wrong == nil {
		return nil
	}
	slices.Sort(wrong)
	return reason.New(reason.GadgetsUnavailable, "gadgets", strings.Join(wrong, "; "))
}

// noPrinter prints nothing.
type noPrinter struct{}

// Print implements Printer.
func (noPrinter) Print(string, *gadget.Event) error { return nil }

// Run traces all pods until the context ends, waits for the tracers to finish, and returns each pod's
// ledgers. It calls note with each gadget's status, in the manner of fmt.Sprintf. If tracing fails in
// some pods, it returns the errors joined, and the ledgers that it got.
func Run(ctx context.Context, e exec.Client, r Request, p Printer, note func(string, ...any)) (map[string]Ledgers, error) {
	var (
		mu     sync.Mutex
		wg     sync.WaitGroup
		all    = map[string]Ledgers{}
		failed error
	)
	for pod, id := range r.Pods {
		wg.Go(func() {
			ledgers, err := tracePod(ctx, e, r, pod, id, p, func(gadget string, s frame.Status) {
				note("%s: gadget %s %s (%s)", pod, gadget, terminal.Line(s.State), terminal.Line(s.Reason))
			}, func(text string) { note("%s: %s", pod, terminal.Line(text)) })
			mu.Lock()
			defer mu.Unlock()
			all[pod] = ledgers
			if err != nil {
				failed = errors.Join(failed, fmt.Errorf("tracing in %s: %w", pod, err))
			}
		})
	}
	wg.Wait()
	return all, failed
}

func tracePod(ctx context.Context, e exec.Client, r Request, pod, id string, p Printer, status func(gadget string, s frame.Status), note func(string)) (Ledgers, error) {
	if id == "" {
		return nil, reason.New(reason.ContainerNotRunning, "container", r.Container)
	}
	// The tracer stops when its standard input ends, and then sends its ledgers. So the stream does not
	// end with ctx; it is cancelled only if the tracer does not stop.
	streamContext, cancelStream := context.WithCancel(context.WithoutCancel(ctx))
	defer cancelStream()
	in, heartbeats := io.Pipe()
	go sendHeartbeats(ctx, heartbeats, cancelStream)
	out, frames := io.Pipe()
	reader := &frameReader{pod: pod, gadgets: r.Gadgets, printer: p, status: status, note: note, ledgers: Ledgers{}}
	done := make(chan error, 1)
	go func() {
		err := reader.read(out)
		if err != nil {
			cancelStream() // client-go reads on after an error of Write
		}
		done <- err
	}()
	var filters []string
	for _, f := range r.Filters {
		filters = append(filters, "--filter="+f)
	}
	stderr := exec.Limited{Limit: maxStderr, Cut: true}
	err := e.Stream(streamContext, r.Namespace, pod, record.Sidecar, append([]string{
		"/usr/bin/osc-tracer", "run", "--gadgets=" + strings.Join(r.Gadgets, ","), "--container-id=" + id, "--container-name=" + r.Container,
		"--slower-than=" + r.SlowerThan.String(),
	}, filters...), remotecommand.StreamOptions{Stdin: in, Stdout: frames, Stderr: &stderr})
	in.Close()
	frames.Close()
	if wrong := <-done; wrong != nil {
		err = wrong
	}
	if said := strings.TrimSpace(stderr.String()); err != nil && said != "" {
		err = fmt.Errorf("%w: %s", err, said)
	}
	return reader.ledgers, err
}

// sendHeartbeats writes a newline to w at every interval, so that the tracer continues. When ctx ends it
// closes w, so that the tracer stops, and cancels the stream after stopTimeout.
func sendHeartbeats(ctx context.Context, w *io.PipeWriter, cancelStream context.CancelFunc) {
	ticker := time.NewTicker(frame.HeartbeatEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			w.Close()
			time.AfterFunc(stopTimeout, cancelStream)
			return
		case <-ticker.C:
			if _, err := w.Write([]byte("\n")); err != nil {
				return
			}
		}
	}
}

// frameReader reads the frames of one tracer.
type frameReader struct {
	pod     string
	gadgets []string // that run; frames of others are an error
	printer Printer
	status  func(gadget string, s frame.Status)
	note    func(text string)
	ledgers Ledgers
	seq     uint64
}

// read reads frames until the stream ends, or something is wrong with it.
func (r *frameReader) read(in *io.PipeReader) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(make([]byte, 0, 4<<10), maxFrame)
	for lines.Scan() {
		if err := r.handle(lines.Bytes()); err != nil {
			in.CloseWithError(err)
			return err
		}
	}
	if err := lines.Err(); err != nil {
		in.CloseWithError(err)
		return fmt.Errorf("read the tracer's frames: %w", err)
	}
	return nil
}

// handle takes one line.
func (r *frameReader) handle(line []byte) error {
	var f frame.Frame
	if err := json.Unmarshal(line, &f); err != nil {
		return fmt.Errorf("read the tracer's frames: %w", err)
	}
	if r.seq++; f.Seq != r.seq {
		return reason.New(reason.TraceFramesLost, "got", f.Seq, "last", r.seq-1)
	}
	if f.Kind == frame.KindNote {
		r.note(f.Note)
		return nil
	}
	if !slices.Contains(r.gadgets, f.Gadget) {
		return fmt.Errorf("read the tracer's frames: unexpected gadget %.40q", f.Gadget)
	}
	switch {
	case f.Status != nil:
		r.status(f.Gadget, *f.Status)
	case f.Event != nil:
		return r.printer.Print(r.pod, f.Event)
	case f.Ledger != nil:
		r.ledgers[f.Gadget] = *f.Ledger
	}
	return nil
}
