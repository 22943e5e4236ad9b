package tracer

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"

	"github.com/osc-debug/osc-debug/pkg/trace/frame"
	"github.com/osc-debug/osc-debug/sidecar/gadget"
	"github.com/osc-debug/osc-debug/sidecar/recorder"
)

// Export writes the events of a recording to out, from record number from on, and at the end the recorder's state. Each
// is a frame in a line; those of events have the record's number. The last frame has the SHA-256 sum of the lines before
// it. A record that cannot be decoded is a frame without an event.
func Export(ctx context.Context, dir string, from uint64, out io.Writer) error {
	sum := sha256.New()
	buffer := bufio.NewWriterSize(out, 64<<10)
	both := io.MultiWriter(buffer, sum)
	var line []byte
	newest, err := recorder.Newest(filepath.Join(dir, ringDir))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	err = recorder.Read(filepath.Join(dir, ringDir), from, func(r recorder.Record) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if newest != nil && len(newest.Eras) > len(r.Meta.Eras) {
			r.Meta.Eras = newest.Eras // a segment ends some time after the clock was set
		}
		e, err := gadget.Decode(r)
		if err != nil { // the client counts it
			return json.NewEncoder(both).Encode(frame.Frame{Seq: r.Seq, Kind: frame.KindEvent, Gadget: r.Gadget})
		}
		if line, err = frame.AppendEvent(line[:0], r.Seq, e); err != nil {
			return err
		}
		_, err = both.Write(line)
		return err
	})
	if err != nil {
		return errors.Join(err, buffer.Flush())
	}
	state, err := ReadState(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return errors.Join(err, buffer.Flush())
	}
	text, err := json.Marshal(state)
	if err != nil {
		return err
	}
	end := frame.Frame{Kind: frame.KindEnd, Sum: hex.EncodeToString(sum.Sum(nil)), State: text}
	return errors.Join(json.NewEncoder(buffer).Encode(end), buffer.Flush())
}
