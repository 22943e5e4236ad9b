package trace

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"k8s.io/client-go/tools/remotecommand"

	"github.com/osc-debug/osc-debug/pkg/kube"
	"github.com/osc-debug/osc-debug/pkg/kube/exec"
	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/session/record"
	"github.com/osc-debug/osc-debug/pkg/trace/frame"
)

// Place is a file in the sidecar of a sandbox pod.
type Place struct{ Namespace, Pod, Path string }

// maxFileLine is the longest line of a frame.File, in bytes.
const maxFileLine = 4 << 10

// Fetch copies a file of a sandbox to a local file that does not exist yet, and returns its size in bytes. A file larger
// than limit is refused. If the stream is cut, it goes on where it was. The local file exists only when it is whole.
func Fetch(ctx context.Context, e exec.Client, from Place, to string, limit int64) (size int64, err error) {
	if _, err := os.Lstat(to); !errors.Is(err, os.ErrNotExist) {
		return 0, errors.Join(err, fmt.Errorf("%s exists already: give another name", to))
	}
	part, err := os.OpenFile(to+".part", os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.Remove(part.Name()), part.Close()) }()
	got := &fetched{file: part, limit: limit}
	for tries := 0; ; tries++ {
		was := got.size
		err := fetchOnce(ctx, e, from, got)
		if err == nil {
			return got.size, os.Link(part.Name(), to) // unlike a rename, it replaces nothing
		}
		if ctx.Err() != nil || reason.Is(err, reason.FileNotCopied) {
			return 0, err
		}
		if got.size > was {
			tries = 0
		}
		if tries == collectTries {
			return 0, err
		}
		if err := kube.Sleep(ctx, collectPause); err != nil {
			return 0, err
		}
	}
}

// fetched is what has arrived of a file.
type fetched struct {
	file  *os.File
	size  int64
	limit int64
}

// fetchOnce reads the file from where it is, until its end or until the stream is cut.
func fetchOnce(ctx context.Context, e exec.Client, from Place, got *fetched) error {
	out, data := io.Pipe()
	done := make(chan error, 1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		err := got.read(out, from)
		out.CloseWithError(err)
		if err != nil {
			cancel() // client-go reads on after an error of Write
		}
		done <- err
	}()
	stderr := exec.Limited{Limit: maxStderr, Cut: true}
	err := e.Stream(ctx, from.Namespace, from.Pod, record.Sidecar, []string{
		"/usr/bin/osc-tracer", "send", fmt.Sprintf("--from=%d", got.size), "--", from.Path,
	}, remotecommand.StreamOptions{Stdout: data, Stderr: &stderr})
	data.Close()
	wrong := <-done
	if said := strings.TrimSpace(stderr.String()); said != "" {
		return reason.New(reason.FileNotCopied, "path", from.Path, "why", said)
	}
	if wrong != nil {
		err = wrong
	}
	return err
}

// read takes what the sandbox sends of the file. Someone with root there may send anything.
func (f *fetched) read(in io.Reader, from Place) error {
	wrong := func(why string) error { return reason.New(reason.FileNotCopied, "path", from.Path, "why", why) }
	lines := bufio.NewReaderSize(in, 64<<10)
	begin, err := readFileLine(lines)
	if err != nil {
		return err
	}
	switch {
	case begin.Size > f.limit:
		return wrong(fmt.Sprintf("it has %d bytes, more than --limit allows (%d)", begin.Size, f.limit))
	case begin.Size < f.size:
		return wrong("it became shorter meanwhile")
	}
	n, err := io.CopyN(f.file, lines, begin.Size-f.size)
	f.size += n
	if err != nil {
		return fmt.Errorf("read %s: %w", from.Path, err)
	}
	end, err := readFileLine(lines)
	if err != nil {
		return err
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, io.NewSectionReader(f.file, 0, f.size)); err != nil {
		return err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != end.Sum {
		return wrong(fmt.Sprintf("its checksum is %.64s, but that of what arrived is %s: it was changed meanwhile", end.Sum, got))
	}
	return nil
}

// readFileLine reads a frame.File.
func readFileLine(in *bufio.Reader) (f frame.File, err error) {
	line, err := in.ReadSlice('\n')
	if err != nil || len(line) > maxFileLine {
		return f, errors.Join(err, errCut)
	}
	return f, json.Unmarshal(line, &f)
}

// Put copies a local file into a sandbox. A file that is there is replaced once the new one is whole.
func Put(ctx context.Context, e exec.Client, from string, to Place) (size int64, err error) {
	f, err := os.Open(from)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	sum := sha256.New()
	if size, err = io.Copy(sum, f); err != nil {
		return 0, err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return 0, err
	}
	stderr := exec.Limited{Limit: maxStderr, Cut: true}
	err = e.Stream(ctx, to.Namespace, to.Pod, record.Sidecar, []string{
		"/usr/bin/osc-tracer", "receive", fmt.Sprintf("--size=%d", size), "--sum=" + hex.EncodeToString(sum.Sum(nil)), "--", to.Path,
	}, remotecommand.StreamOptions{Stdin: io.LimitReader(f, size), Stderr: &stderr})
	if said := strings.TrimSpace(stderr.String()); err != nil && said != "" {
		err = reason.New(reason.FileNotCopied, "path", to.Path, "why", said)
	}
	return size, err
}
