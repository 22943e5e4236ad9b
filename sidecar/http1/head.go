package http1

import (
	"bytes"
	"strconv"
	"strings"
)

// startLine is what the first line of a message says.
type startLine struct {
	method, path string
	pathCut      bool
	status       int // of a response
}

// MaxPath is how much of a path is kept, in bytes.
const MaxPath = 255

// maxMethod is how long a method may be. The longest that is registered has 17 letters.
const maxMethod = 24

// parseRequestLine reads the first line of a request, or its beginning if it was cut. It returns false if that is not one.
func parseRequestLine(line []byte, cut bool) (s startLine, ok bool) {
	method, rest, found := bytes.Cut(line, []byte(" "))
	if !found || !isMethod(method) {
		return s, false
	}
	target, version, found := bytes.Cut(rest, []byte(" "))
	if !found && !cut || found && !cut && !isVersion(version) {
		return s, false
	}
	s.method = string(method)
	s.path, s.pathCut = pathOf(target)
	s.pathCut = s.pathCut || !found
	return s, true
}

// isMethod says whether a text can be a method. All that are in use are upper-case letters and hyphens; a body is hardly
// ever taken for one.
func isMethod(text []byte) bool {
	if len(text) == 0 || len(text) > maxMethod {
		return false
	}
	for _, c := range text {
		if (c < 'A' || c > 'Z') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

func isVersion(text []byte) bool {
	return len(text) == len("HTTP/1.1") && bytes.HasPrefix(text, []byte("HTTP/1.")) && text[7] >= '0' && text[7] <= '9'
}

// pathOf returns the path of a request's target, without the query: that may have secrets. The target can also be a URL, for
// a proxy, or a host and a port, for CONNECT.
func pathOf(target []byte) (path string, cut bool) {
	if _, rest, isURL := bytes.Cut(target, []byte("://")); isURL && !bytes.HasPrefix(target, []byte("/")) {
		target = []byte("/")
		if at := bytes.IndexByte(rest, '/'); at >= 0 {
			target = rest[at:]
		}
	}
	if at := bytes.IndexAny(target, "?#"); at >= 0 {
		target = target[:at]
	}
	if len(target) > MaxPath {
		return string(target[:MaxPath]), true
	}
	return string(target), false
}

// parseStatusLine reads the first line of a response.
func parseStatusLine(line []byte) (s startLine, ok bool) {
	version, rest, found := bytes.Cut(line, []byte(" "))
	if !found || !isVersion(version) {
		return s, false
	}
	code, _, _ := bytes.Cut(rest, []byte(" "))
	if len(code) != 3 {
		return s, false
	}
	n, err := strconv.Atoi(string(code))
	s.status = n
	return s, err == nil && n >= 100
}

// framing is what the header fields say about the length of a body.
type framing struct {
	length  uint64
	given   bool // length is
	chunked bool
}

// add takes one line of the header.
func (f *framing) add(line []byte) {
	name, value, found := bytes.Cut(line, []byte(":"))
	if !found {
		return
	}
	switch text := strings.TrimSpace(string(value)); {
	case strings.EqualFold(string(name), "Content-Length"):
		first, _, _ := strings.Cut(text, ",") // repeated values are equal, or the message is invalid
		if n, err := strconv.ParseUint(strings.TrimSpace(first), 10, 63); err == nil {
			f.length, f.given = n, true
		}
	case strings.EqualFold(string(name), "Transfer-Encoding"):
		last := text[strings.LastIndexByte(text, ',')+1:]
		f.chunked = strings.EqualFold(strings.TrimSpace(last), "chunked")
	}
}

// parseChunkSize reads the line before a chunk. Extensions are of no interest.
func parseChunkSize(line []byte) (uint64, bool) {
	size, _, _ := bytes.Cut(line, []byte(";"))
	n, err := strconv.ParseUint(strings.TrimSpace(string(size)), 16, 63)
	return n, err == nil
}
