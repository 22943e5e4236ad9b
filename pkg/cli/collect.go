package cli

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/osc-debug/osc-debug/pkg/kube/exec"
	"github.com/osc-debug/osc-debug/pkg/session"
	"github.com/osc-debug/osc-debug/pkg/trace"
)

// Names of the files that 'collect' writes.
const (
	eventsFile  = "events.jsonl"
	summaryFile = "summary.json"
)

type collectFlags struct {
	route, session string
}

func (a *app) collectCommand() *cobra.Command {
	f := &collectFlags{}
	c := &cobra.Command{
		Use:   "collect DIR",
		Short: "Copy what a session's sandbox has recorded",
		Long: `Copy the recording of a session's sandbox into a new folder. A session that was started with
--trace records from the program's first instruction on, whether or not a command is connected.

events.jsonl has the events of all pods, one JSON object in a line, in the order of each pod.
summary.json has, for each pod, the gadgets' ledgers, what the recording no longer has because it
was full, and the checksum of events.jsonl. If the stream is cut, it goes on where it was.`,
		Example: `  osc-debug collect ./trace
  osc-debug collect ./trace --route echo-route`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return a.runCollect(c, f, args[0]) },
	}
	fl := c.Flags()
	fl.StringVar(&f.route, "route", "", "Route of the session")
	fl.StringVarP(&f.session, "session", "s", "", "ID of the session")
	a.completions(c)
	return c
}

// collection is what summary.json has.
type collection struct {
	Session   string                     `json:"session"`
	Collected time.Time                  `json:"collected"`
	Pods      map[string]trace.Collected `json:"pods"`
	SHA256    string                     `json:"eventsSHA256"` // of events.jsonl, in hex
}

func (a *app) runCollect(c *cobra.Command, f *collectFlags, dir string) error {
	clients, err := a.clients()
	if err != nil {
		return err
	}
	target, err := clients.running(c.Context(), f.route, f.session, "")
	if err != nil {
		return err
	}
	if err := newFolder(dir); err != nil {
		return err
	}
	return a.collect(c.Context(), clients, target, dir, a.report())
}

// newFolder creates a folder that does not exist yet.
func newFolder(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return fmt.Errorf("%w: give the name of a new folder", err)
	}
	return nil
}

// collect copies the recordings of all pods into a folder.
func (a *app) collect(ctx context.Context, clients *clients, target session.Target, dir string, report *report) error {
	out := collection{Session: target.Session, Collected: clients.clock.Now().UTC(), Pods: map[string]trace.Collected{}}
	failed := writeSummed(filepath.Join(dir, eventsFile), &out.SHA256, func(w io.Writer) (failed error) {
		p, err := trace.NewPrinter(w, trace.JSON, false, nil)
		if err != nil {
			return err
		}
		for _, pod := range slices.Sorted(maps.Keys(target.Pods)) {
			got, err := a.collectPod(ctx, clients, target.Namespace, pod, p)
			out.Pods[pod] = got
			report.Note("%s: %d events, %d no longer there, %d damaged, the stream was cut %d times", pod, got.Events, got.Gone, got.Damaged, got.Cuts)
			failed = errors.Join(failed, err)
		}
		return failed
	})
	text, err := json.MarshalIndent(out, "", "  ")
	if err != nil {
		return err
	}
	return errors.Join(failed, os.WriteFile(filepath.Join(dir, summaryFile), append(text, '\n'), 0o600))
}

func (a *app) collectPod(ctx context.Context, c *clients, namespace, pod string, p trace.Printer) (trace.Collected, error) {
	got, err := trace.Collect(ctx, exec.Client{Config: c.config, Core: c.Core}, namespace, pod, p)
	if err != nil {
		return got, fmt.Errorf("collect from %s: %w", pod, err)
	}
	return got, nil
}

// writeSummed creates a file, has it written, and stores the SHA-256 sum of what was written, in hex.
func writeSummed(path string, sum *string, write func(io.Writer) error) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	hash := sha256.New()
	buffer := bufio.NewWriterSize(io.MultiWriter(file, hash), 256<<10)
	failed := errors.Join(write(buffer), buffer.Flush(), file.Close())
	*sum = hex.EncodeToString(hash.Sum(nil))
	return failed
}
