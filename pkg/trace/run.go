// Package trace is the client's side of tracing: it runs the tracer in a sandbox over exec, reads
// its frames, and prints them.
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

// stopWithin is how long a tracer gets to detach and send its ledger.
const stopWithin = 10 * time.Second

// Request says what to trace.
type Request struct {
	Namespace string
	Pods      map[string]string // sandbox pods, each with the traced container's runtime ID
	Container string            // its name
	Gadgets   []string
}

// Ledgers are a pod's books, by gadget.
type Ledgers map[string]frame.Ledger

// String tells each gadget's ledger.
func (l Ledgers) String() string {
	var parts []string
	for _, g := range frame.Names() {
		if ledger, ok := l[g]; ok {
			parts = append(parts, g+": "+ledger.String())
		}
	}
	return strings.Join(parts, "; ")
}

// Run traces all pods until the context ends, then lets the tracers finish, and
// returns each pod's ledgers. note tells what each gadget can do there.
func Run(ctx context.Context, e exec.Client, r Request, p Printer, note func(string, ...any)) (map[string]Ledgers, error) {
	var (
		mu     sync.Mutex
		wg     sync.WaitGroup
		all    = map[string]Ledgers{}
		failed error
	)
	for pod, id := range r.Pods {
		wg.Go(func() {
			ledgers, err := runPod(ctx, e, r, pod, id, p, note)
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

func runPod(ctx context.Context, e exec.Client, r Request, pod, id string, p Printer, note func(string, ...any)) (Ledgers, error) {
	if id == "" {
		return nil, reason.New(reason.ContainerNotRunning, "container", r.Container)
	}
	// The stream ends when standard input does, so that the tracer can send its ledger;
	// only a tracer that does not end is cut off.
	streamContext, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	in, beat := io.Pipe()
	go heartbeat(ctx, beat, cut)
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

// heartbeat tells the tracer that somebody listens; its end tells it to stop.
func heartbeat(ctx context.Context, w *io.PipeWriter, cut context.CancelFunc) {
	ticker := time.NewTicker(frame.HeartbeatEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			w.Close()
			time.AfterFunc(stopWithin, cut)
			return
		case <-ticker.C:
			if _, err := w.Write([]byte("\n")); err != nil {
				return
			}
		}
	}
}

// frameReader reads one tracer's stream.
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
