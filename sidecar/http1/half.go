package http1

import "bytes"

// state is what a half of a connection reads next.
type state int

const (
	inStart     state = iota // the first line of a message
	inHeader                 // lines of its header
	inBody                   // a body of known length
	inChunkSize              // the line before a chunk
	inChunk                  // a chunk
	inChunkEnd               // the line end after a chunk
	inTrailer                // lines after the last chunk
	untilClose               // a body that ends with the connection
	untilAnswer              // a message whose end cannot be known, because bytes are missing
	inTunnel                 // another protocol
)

// maxLine is how much of a line is kept, in bytes: enough for a path and for the fields that matter. The rest is read over.
const maxLine = 1 << 10

// half is one direction of a connection: messages, one after another.
type half struct {
	state   state
	line    []byte // of the line that is read, its first bytes
	cut     bool   // the line is longer
	left    uint64 // of the body or chunk
	message uint64 // bytes of the message until now
	body    uint64 // bytes of its body until now, without the frames of chunks
	began   uint64 // time of its first byte
	last    uint64 // time of the last byte of all
	start   startLine
	framing framing
}

// owner decides what a half cannot: what the other half knows.
type owner interface {
	// startRead is called when the first line of a message was read. It returns false if this is not HTTP.
	startRead() bool
	// headRead is called when the header was read, and returns the state in which the body begins.
	headRead() state
	// ended is called when a message has ended.
	ended()
}

// take reads bytes.
func (h *half) take(data []byte, now uint64, o owner) {
	for len(data) > 0 {
		if h.last = now; h.message == 0 {
			h.began = now
		}
		n := h.step(data, o)
		data = data[n:]
	}
}

// step reads some bytes, at least one, and returns how many.
func (h *half) step(data []byte, o owner) int {
	switch h.state {
	case inBody, inChunk:
		n := min(uint64(len(data)), h.left)
		h.pass(n, o)
		return int(n)
	case untilClose, untilAnswer, inTunnel:
		h.message += uint64(len(data))
		h.body += uint64(len(data))
		return len(data)
	}
	end := bytes.IndexByte(data, '\n')
	part := data
	if end >= 0 {
		part = data[:end+1]
	}
	h.message += uint64(len(part))
	room := maxLine - len(h.line)
	h.cut = h.cut || len(part) > room
	h.line = append(h.line, part[:min(len(part), room)]...)
	if end >= 0 {
		line := bytes.TrimRight(h.line, "\r\n")
		h.readLine(line, o)
		h.line, h.cut = h.line[:0], false
	}
	return len(part)
}

// pass reads over n bytes of a body or chunk, not more than are left.
func (h *half) pass(n uint64, o owner) {
	h.left -= n
	h.message += n
	h.body += n
	if h.left > 0 {
		return
	}
	if h.state == inChunk {
		h.state = inChunkEnd
		return
	}
	h.end(o)
}

// readLine takes a line without its end.
func (h *half) readLine(line []byte, o owner) {
	switch h.state {
	case inStart:
		if len(line) == 0 { // clients may send an empty line after a body
			h.message = 0
			return
		}
		h.readStart(line, h.cut, o)
	case inHeader:
		if len(line) == 0 {
			h.begin(o.headRead(), o)
			return
		}
		h.framing.add(line)
	case inChunkSize:
		size, ok := parseChunkSize(line)
		switch {
		case !ok:
			h.state = untilAnswer
		case size == 0:
			h.state = inTrailer
		default:
			h.state, h.left = inChunk, size
		}
	case inChunkEnd:
		h.state = inChunkSize
	case inTrailer:
		if len(line) == 0 {
			h.end(o)
		}
	}
}

// readStart takes the first line of a message, or its beginning.
func (h *half) readStart(line []byte, cut bool, o owner) {
	h.framing = framing{}
	h.body = 0
	h.line = append(h.line[:0], line...)
	h.cut = cut
	if h.state = inHeader; !o.startRead() {
		h.state = inTunnel
	}
}

// begin begins a body.
func (h *half) begin(s state, o owner) {
	h.state = s
	switch s {
	case inBody:
		if h.left = h.framing.length; h.left == 0 {
			h.end(o)
		}
	case inStart:
		h.end(o)
	}
}

// end ends a message.
func (h *half) end(o owner) {
	h.state = inStart
	o.ended()
	h.message, h.body = 0, 0
}

// skip reads over n bytes that are missing.
func (h *half) skip(n uint64, now uint64, o owner) {
	for n > 0 {
		if h.last = now; h.message == 0 {
			h.began = now
		}
		switch h.state {
		case inBody, inChunk:
			k := min(n, h.left)
			n -= k
			h.pass(k, o)
			continue
		case inStart:
			if line := bytes.TrimRight(h.line, "\r\n"); len(line) > 0 {
				h.readStart(line, true, o)
			} else {
				h.state = inTunnel // the first line of a message is missing
			}
		}
		if h.state == inHeader {
			o.headRead() // what the header says after this is not known
		}
		if h.state != untilClose && h.state != inTunnel {
			h.state = untilAnswer
		}
		h.line, h.cut = h.line[:0], false
		h.message += n
		h.body += n
		n = 0
	}
}
