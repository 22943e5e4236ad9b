package gadget

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// castRecord returns a record of the ring buffer as a T, without copying. C and Go have the same layout:
// bpf2go generated T from the types of the BPF object. The ring buffer aligns records to 8 bytes.
func castRecord[T any](raw []byte) (*T, error) {
	var zero T
	if len(raw) < int(unsafe.Sizeof(zero)) {
		return nil, fmt.Errorf("record of %d bytes, expected %d", len(raw), unsafe.Sizeof(zero))
	}
	return (*T)(unsafe.Pointer(&raw[0])), nil
}

// cString converts a C string.
func cString(c []int8) string {
	out := make([]byte, 0, len(c))
	for _, b := range c {
		if b == 0 {
			break
		}
		out = append(out, byte(b))
	}
	return string(out)
}

// errnoName returns the name of an error number, "" for 0.
func errnoName(n int32) string {
	if n == 0 {
		return ""
	}
	if name := unix.ErrnoName(unix.Errno(n)); name != "" {
		return name
	}
	return fmt.Sprintf("errno %d", n)
}
