package trace

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"
	"time"

	"k8s.io/client-go/tools/remotecommand"

	"github.com/osc-debug/osc-debug/pkg/kube"
	"github.com/osc-debug/osc-debug/pkg/kube/exec"
	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/session/record"
	"github.com/osc-debug/osc-debug/pkg/trace/frame"
)

// Collected is what was collected of a pod's recording.
type Collected struct {
	Events    uint64      `json:"events"`
	Damaged   uint64      `json:"damaged,omitempty"` // records that could not be decoded
	Gone      uint64      `json:"gone,omitempty"`    // records that the ring no longer had
	First     uint64      `json:"first,omitempty"`   // number of the first record that was there
	Last      uint64      `json:"last,omitempty"`
	Cuts      int         `json:"cuts,omitempty"` // times that the stream was cut and went on
	Recording frame.State `json:"recording"`
}

// collectTries is how often a stream that was cut is resumed without progress.
const (
	collectTries = 5
	collectPause = time.Second
)

// Collect passes the events of a pod's recording to p, oldest first, each once. If the stream is cut, it goes on after
// the last event.
func Collect(ctx context.Context, e exec.Client, namespace, pod string, p Printer) (c Collected, err error) {
	for tries := 0; ; tries++ {
		was := c.Last
		err = collectOnce(ctx, e, namespace, pod, p, &c)
		if err == nil || ctx.Err() != nil || reason.Is(err, reason.RecordingDamaged) {
			return c, err
		}
		if c.Last > was {
			tries = 0
		}
		if tries == collectTries {
			return c, err
		}
		c.Cuts++
		if err := kube.Sleep(ctx, collectPause); err != nil {
			return c, err
		}
	}
}

// collectOnce reads the recording from the record after c.Last on, until its end or until the stream is cut.
func collectOnce(ctx context.Context, e exec.Client, namespace, pod string, p Printer, c *Collected) error {
	out, lines := io.Pipe()
	done := make(chan error, 1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		err := readRecording(out, pod, p, c)
		out.CloseWithError(err)
		if err != nil {
			cancel() // client-go reads on after an error of Write
		}
		done <- err
	}()
	stderr := exec.Limited{Limit: maxStderr, Cut: true}
	err := e.Stream(ctx, namespace, pod, record.Sidecar, []string{
		"/usr/bin/osc-tracer", "export", "--dir=" + frame.RecordingDir, fmt.Sprintf("--from=%d", c.Last+1),
	}, remotecommand.StreamOptions{Stdout: lines, Stderr: &stderr})
	lines.Close()
	if wrong := <-done; wrong != nil {
		err = wrong
	}
	if said := strings.TrimSpace(stderr.String()); err != nil && said != "" {
		err = fmt.Errorf("%w: %s", err, said)
	}
	return err
}

// errCut is the error of a recording whose end did not come.
var errCut = errors.New("the stream ended before the recording did")

// readRecording reads the frames of an exported recording.
func readRecording(in io.Reader, pod string, p Printer, c *Collected) error {
	sum := sha256.New()
	lines := bufio.NewScanner(in)
	lines.Buffer(make([]byte, 0, 64<<10), maxState)
	for lines.Scan() {
		ended, err := readRecorded(lines.Bytes(), sum, pod, p, c)
		if err != nil || ended {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read the recording: %w", err)
	}
	return errCut
}

// maxState is the longest line of an exported recording, in bytes: that of the recorder's state.
const maxState = 4 << 20

// readRecorded takes one line.
func readRecorded(line []byte, sum hash.Hash, pod string, p Printer, c *Collected) (ended bool, err error) {
	var f frame.Frame
	if err := json.Unmarshal(line, &f); err != nil {
		return false, reason.New(reason.RecordingDamaged, "pod", pod, "why", err)
	}
	if f.Kind == frame.KindEnd {
		if got := hex.EncodeToString(sum.Sum(nil)); got != f.Sum {
			return false, reason.New(reason.RecordingDamaged, "pod", pod, "why", fmt.Sprintf("its checksum is %.64s, not %s", f.Sum, got))
		}
		if err := json.Unmarshal(f.State, &c.Recording); err != nil {
			return false, reason.New(reason.RecordingDamaged, "pod", pod, "why", err)
		}
		return true, nil
	}
	sum.Write(line)
	sum.Write([]byte{'\n'})
	if f.Kind != frame.KindEvent || f.Seq <= c.Last {
		return false, reason.New(reason.RecordingDamaged, "pod", pod, "why", fmt.Sprintf("record %d comes after %d", f.Seq, c.Last))
	}
	if c.First == 0 {
		c.First = f.Seq
	}
	c.Gone += f.Seq - c.Last - 1
	c.Last = f.Seq
	if f.Event == nil {
		c.Damaged++
		return false, nil
	}
	c.Events++
	return false, p.Print(pod, f.Event)
}
