package exec

import (
	"bytes"
	"context"
	"errors"
)

// ErrTooMuch is the error of a Limited that got more than its limit.
var ErrTooMuch = errors.New("more output than expected")

// Limited collects what a command in a container prints, up to a limit: someone with root in the container
// decides how much that is. It implements io.Writer.
type Limited struct {
	Limit int // in bytes
	// Cut drops what is over the limit. Otherwise, Write returns ErrTooMuch, and Stream ends with it.
	Cut bool

	got      bytes.Buffer
	exceeded context.CancelCauseFunc // set by Stream: client-go reads on after an error of Write
}

// Write collects p.
func (l *Limited) Write(p []byte) (int, error) {
	room := l.Limit - l.got.Len()
	if len(p) <= room {
		return l.got.Write(p)
	}
	l.got.Write(p[:room])
	if l.Cut {
		return len(p), nil
	}
	if l.exceeded != nil {
		l.exceeded(ErrTooMuch)
	}
	return room, ErrTooMuch
}

// String returns what was collected.
func (l *Limited) String() string { return l.got.String() }
