package gadget

import (
	"fmt"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// bootTime is the wall-clock time at which the clock that BPF programs read was 0.
func bootTime() (time.Time, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return time.Time{}, fmt.Errorf("read the clock: %w", err)
	}
	return time.Now().Add(-time.Duration(ts.Nano())), nil
}

// view reads a record of the ring buffer in place: C and Go agree on the layout, which
// bpf2go made from the BPF object's own types. The ring buffer aligns records to 8.
func view[T any](raw []byte) (*T, error) {
	var zero T
	if len(raw) < int(unsafe.Sizeof(zero)) {
		return nil, fmt.Errorf("record of %d bytes, expected %d", len(raw), unsafe.Sizeof(zero))
	}
	return (*T)(unsafe.Pointer(&raw[0])), nil
}

// text reads a C string.
func text(c []int8) string {
	out := make([]byte, 0, len(c))
	for _, b := range c {
		if b == 0 {
			break
		}
		out = append(out, byte(b))
	}
	return string(out)
}

// errno names an error number, "" for none.
func errno(n int32) string {
	if n == 0 {
		return ""
	}
	if name := unix.ErrnoName(unix.Errno(n)); name != "" {
		return name
	}
	return fmt.Sprintf("errno %d", n)
}
