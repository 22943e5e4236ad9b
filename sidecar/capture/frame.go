package capture

import "encoding/binary"

// Where a VLAN's tag is in a frame, and how long it is, in bytes.
const (
	tagOffset = 12 // after both addresses
	tagLength = 4
)

// withTag returns a frame with the VLAN tag that the kernel took off before the capture. kind is the tag's EtherType.
func withTag(frame []byte, kind, tag uint16) []byte {
	if len(frame) < tagOffset {
		return frame // cut before the tag
	}
	out := make([]byte, 0, len(frame)+tagLength)
	out = append(out, frame[:tagOffset]...)
	out = binary.BigEndian.AppendUint16(out, kind)
	out = binary.BigEndian.AppendUint16(out, tag)
	return append(out, frame[tagOffset:]...)
}
