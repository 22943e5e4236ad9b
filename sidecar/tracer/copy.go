package tracer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/osc-debug/osc-debug/pkg/trace/frame"
)

// Send writes a regular file to out, from an offset on: its size as a frame.File in a line, its bytes, and in another
// line its checksum. What a program appends meanwhile is not sent.
func Send(ctx context.Context, path string, from int64, out io.Writer) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is no regular file", path)
	}
	size := info.Size()
	if from < 0 || from > size {
		return fmt.Errorf("%s has %d bytes, fewer than %d: it was changed meanwhile", path, size, from)
	}
	lines := json.NewEncoder(out)
	if err := lines.Encode(frame.File{Size: size}); err != nil {
		return err
	}
	sum := sha256.New()
	if _, err := io.CopyN(sum, f, from); err != nil {
		return err
	}
	if _, err := io.CopyN(out, io.TeeReader(contextReader{ctx, f}, sum), size-from); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	return lines.Encode(frame.File{Size: size, Sum: hex.EncodeToString(sum.Sum(nil))})
}

// Receive reads a file of a size with a checksum from in, and puts it at path when it is whole. A file at path is
// replaced.
func Receive(ctx context.Context, path string, expect frame.File, in io.Reader) (err error) {
	part, err := os.CreateTemp(filepath.Dir(path), ".osc-debug-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(part.Name()))
		}
	}()
	sum := sha256.New()
	_, err = io.CopyN(io.MultiWriter(part, sum), contextReader{ctx, in}, expect.Size)
	if err = errors.Join(err, part.Chmod(0o755), part.Close()); err != nil {
		return err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != expect.Sum {
		return fmt.Errorf("the checksum of what arrived is %s, not %.64s", got, expect.Sum)
	}
	return os.Rename(part.Name(), path)
}

// contextReader reads until its context ends.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

// Read implements io.Reader.
func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
