// Package trace is the client side of tracing: it runs the tracer in a sandbox over exec, and reads and
// prints the tracer's frames.
package trace

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"k8s.io/client-go/tools/remotecommand"

	"github.com/osc-debug/osc-debug/pkg/kube/exec"
	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/session/record"
	"github.com/osc-debug/osc-debug/pkg/trace/frame"
)

// stopTimeout is how long a tracer may take to detach and send its ledgers.
const stopTimeout = 10 * time.Second

// Request says what to trace.
type Request struct {
	Namespace string
	Pods      map[string]string // sandbox pod to the runtime ID of its traced container
	Container string            // name of the traced container
	Gadgets   []string          // names
}

// Ledgers are the ledgers of one pod, by gadget.
type Ledgers map[string]frame.Ledger

// String returns all ledgers in one line.
func (l Ledgers) String() string {
	var parts []string
	for _, g := range frame.Names() {
		if ledger, ok := l[g]; ok {
			parts = append(parts, g+": "+ledger.String())
		}
	}
	return strings.Join(parts, "; ")
}

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
			ledgers, err := tracePod(ctx, e, r, pod, id, p, note)
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

func tracePod(ctx context.Context, e exec.Client, r Request, pod, id string, p Printer, note func(string, ...any)) (Ledgers, error) {
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
	reader := &frameReader{pod: pod, printer: p, note: note, ledgers: Ledgers{}}
	done := make(chan error, 1)
	go func() { done <- reader.read(out) }()
	var stderr bytes.Buffer
	err := e.Stream(streamContext, r.Namespace, pod, record.Sidecar, []string{
		"/usr/bin/osc-tracer", "run", "--gadgets=" + strings.Join(r.Gadgets, ","), "--container-id=" + id, "--container-name=" + r.Container,
	}, remotecommand.StreamOptions{Stdin: in, Stdout: frames, Stderr: &stderr})
	in.Close()
	frames.Close()
	err = errors.Join(err, <-done)
	if err != nil && stderr.Len() > 0 {
		err = fmt.Errorf("%w: %s", err, strings.TrimSpace(stderr.String()))
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
	printer Printer
	note    func(string, ...any)
	ledgers Ledgers
	seq     uint64
}

func (r *frameReader) read(in *io.PipeReader) error {
	decoder := json.NewDecoder(bufio.NewReaderSize(in, 64<<10))
	for {
		var f frame.Frame
		if err := decoder.Decode(&f); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			in.CloseWithError(err)
			return fmt.Errorf("read the tracer's frames: %w", err)
		}
		if r.seq++; f.Seq != r.seq {
			in.CloseWithError(io.ErrUnexpectedEOF)
			return reason.New(reason.TraceFramesLost, "got", f.Seq, "last", r.seq-1)
		}
		switch {
		case f.Status != nil:
			r.note("%s: gadget %s %s (%s)", r.pod, f.Gadget, f.Status.State, f.Status.Reason)
		case f.Event != nil:
			if err := r.printer.Print(r.pod, f.Gadget, f.Event); err != nil {
				in.CloseWithError(err)
				return err
			}
		case f.Ledger != nil:
			r.ledgers[f.Gadget] = *f.Ledger
		}
	}
}
