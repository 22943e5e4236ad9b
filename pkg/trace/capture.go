package trace

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"k8s.io/client-go/tools/remotecommand"

	"github.com/osc-debug/osc-debug/pkg/kube/exec"
	"github.com/osc-debug/osc-debug/pkg/session/record"
	"github.com/osc-debug/osc-debug/pkg/terminal"
	"github.com/osc-debug/osc-debug/pkg/trace/frame"
	"github.com/osc-debug/osc-debug/pkg/trace/pcapng"
)

// CaptureRequest says what to capture in a sandbox pod.
type CaptureRequest struct {
	Namespace, Pod string
	Interfaces     []string // names; none: all that are up
	Snaplen        int      // bytes, from 1 to pcapng.MaxSnaplen
	Filter         string   // in tcpdump's language
}

// Capture writes the packets of a pod to out, in the pcapng format, until the context ends. It calls note when the capture
// begins, in the manner of fmt.Sprintf, and returns what was counted at each interface.
func Capture(ctx context.Context, e exec.Client, r CaptureRequest, out io.Writer, note func(string, ...any)) (map[string]pcapng.Statistics, error) {
	streamContext, cancelStream := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancelStream(nil)
	in, heartbeats := io.Pipe()
	go sendHeartbeats(ctx, heartbeats, func() { cancelStream(nil) })
	lines, report := io.Pipe()
	reader := captureReader{pod: r.Pod, note: note}
	done := make(chan struct{})
	go func() {
		defer close(done)
		reader.read(lines)
	}()
	command := []string{"/usr/bin/osc-tracer", "capture", fmt.Sprintf("--snaplen=%d", r.Snaplen)}
	for _, i := range r.Interfaces {
		command = append(command, "--interface="+i)
	}
	if r.Filter != "" {
		command = append(command, "--", r.Filter)
	}
	err := e.Stream(streamContext, r.Namespace, r.Pod, record.Sidecar, command,
		remotecommand.StreamOptions{Stdin: in, Stdout: &writerThatEnds{out, cancelStream}, Stderr: report})
	in.Close()
	report.Close()
	<-done
	if cause := context.Cause(streamContext); err != nil && cause != nil && ctx.Err() == nil {
		err = cause // such as a reader of the output who has left
	}
	if err != nil && reader.said != "" {
		err = fmt.Errorf("%w: %s", err, terminal.Line(reader.said))
	}
	return reader.counted, err
}

// writerThatEnds ends the stream when nothing can be written: client-go reads on after an error of Write.
type writerThatEnds struct {
	io.Writer
	end context.CancelCauseFunc
}

// Write implements io.Writer.
func (w *writerThatEnds) Write(p []byte) (int, error) {
	n, err := w.Writer.Write(p)
	if err != nil {
		w.end(err)
	}
	return n, err
}

// captureReader reads what a capture reports on its standard error.
type captureReader struct {
	pod     string
	note    func(string, ...any)
	counted map[string]pcapng.Statistics
	said    string // what is not a report: why it failed
}

func (r *captureReader) read(in *io.PipeReader) {
	lines := bufio.NewScanner(in)
	lines.Buffer(make([]byte, 0, 4<<10), maxStderr)
	for lines.Scan() {
		var line frame.Capture
		switch err := json.Unmarshal(lines.Bytes(), &line); {
		case err != nil:
			if len(r.said) < maxStderr {
				r.said = strings.TrimSpace(r.said + " " + lines.Text())
			}
		case line.Counted != nil:
			r.counted = line.Counted
		default:
			r.note("%s: capturing at %s", r.pod, terminal.Line(strings.Join(line.Interfaces, ", ")))
		}
	}
	in.CloseWithError(lines.Err())
}
