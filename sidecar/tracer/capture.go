package tracer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/osc-debug/osc-debug/pkg/trace/frame"
	"github.com/osc-debug/osc-debug/pkg/trace/pcapng"
	"github.com/osc-debug/osc-debug/sidecar/capture"
)

// maxCaptureFilter is how long a filter may be, in bytes.
const maxCaptureFilter = 4 << 10

// Capture captures packets and writes them to out in the pcapng format, until in ends, there is no heartbeat for
// HeartbeatLimit, or the context ends. On report, it writes a line when it captures, and one when it has ended: see
// frame.Capture. The command line has validated the options, but the tracer runs as root and validates them again.
func Capture(ctx context.Context, o capture.Options, in io.Reader, out, report io.Writer) error {
	if o.Snaplen < 1 || o.Snaplen > pcapng.MaxSnaplen {
		return fmt.Errorf("the length of packets must be from 1 to %d bytes", pcapng.MaxSnaplen)
	}
	if len(o.Filter) > maxCaptureFilter {
		return fmt.Errorf("the filter has %d bytes, may have %d", len(o.Filter), maxCaptureFilter)
	}
	lines := json.NewEncoder(report)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() { cancel(watchHeartbeats(ctx, in)) }() // a blocked read cannot be cancelled: it ends with the process
	var reported error
	counted, err := capture.Run(ctx, o, out, func(interfaces []string) { reported = lines.Encode(frame.Capture{Interfaces: interfaces}) })
	if err != nil {
		return err
	}
	return errors.Join(reported, lines.Encode(frame.Capture{Counted: counted}))
}
