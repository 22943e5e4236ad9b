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
	"strings"

	"golang.org/x/sys/unix"

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
	for _, dir := range frame.ScratchDirs {
		if strings.HasPrefix(filepath.Clean(path), dir+"/") {
			if err := checkRoom(dir, expect.Size, frame.ScratchLimit); err != nil {
				return err
			}
		}
	}
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

// spare is what is left free of the scratch volume: the kubelet counts whole blocks and folders too.
const spare = 32 << 20

// checkRoom returns an error if a file of a size would take the scratch volume at dir over its limit, in bytes, or into
// the recorder's part of it.
func checkRoom(dir string, size, limit int64) error {
	var used, recorded, reserved int64
	if _, err := os.Stat(filepath.Join(dir, filepath.Base(frame.RecordingDir))); err == nil {
		reserved = frame.RecordingLimit
	}
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return ignoreMissing(err)
		}
		var s unix.Stat_t
		if err := unix.Lstat(path, &s); err != nil {
			return ignoreMissing(err)
		}
		if strings.HasPrefix(path, filepath.Join(dir, filepath.Base(frame.RecordingDir))+"/") {
			recorded += s.Blocks * 512
		} else {
			used += s.Blocks * 512
		}
		return nil
	})
	if err != nil {
		return err
	}
	if room := limit - spare - used - max(recorded, reserved); size > room {
		return fmt.Errorf("%s has room for %d MiB more, not for %d: a sandbox whose volume has more than %d MiB is evicted",
			dir, max(room, 0)>>20, size>>20, limit>>20)
	}
	return nil
}

// ignoreMissing ignores that a file was deleted meanwhile.
func ignoreMissing(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
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
