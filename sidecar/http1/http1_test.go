package http1

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"
)

// step is one line of a dialog: what a side sends in one call, or that it closes, or a pause.
type step struct {
	from  Direction
	data  []byte
	pause time.Duration
	close bool
	reset bool
}

// dialogs reads a file of testdata: for each connection, its steps. 'C text' and 'S text' are what client and server send,
// 'C* N c' N times a character, 'P seconds' a pause, 'C!' a close, 'C!!' a reset, 'N' a new connection, '#' a comment.
func dialogs(t testing.TB, name string) (out [][]step) {
	t.Helper()
	file, err := os.Open(filepath.Join("testdata", name))
	ok(t, err)
	defer file.Close()
	out = [][]step{nil}
	for lines := bufio.NewScanner(file); lines.Scan(); {
		op, text, _ := strings.Cut(lines.Text(), " ")
		s := step{}
		if strings.HasPrefix(op, "S") {
			s.from = Responses
		}
		switch strings.TrimLeft(op, "CS") {
		case "":
			if op == "" {
				continue
			}
			unquoted, err := strconv.Unquote(`"` + text + `"`)
			ok(t, err)
			s.data = []byte(unquoted)
		case "*":
			n, char, _ := strings.Cut(text, " ")
			count, err := strconv.Atoi(n)
			ok(t, err)
			s.data = bytes.Repeat([]byte(char), count)
		case "!", "!!":
			s.close, s.reset = true, strings.HasSuffix(op, "!!")
		case "P":
			seconds, err := strconv.ParseFloat(text, 64)
			ok(t, err)
			s.pause = time.Duration(seconds * float64(time.Second))
		case "N":
			out = append(out, nil)
			continue
		default:
			continue
		}
		out[len(out)-1] = append(out[len(out)-1], s)
	}
	return out
}

// play feeds a dialog. split cuts what is sent in one step into parts.
func play(steps []step, split func(Direction, []byte) []Part) (got []Exchange, s Summary) {
	c := NewConn(func(e Exchange) { got = append(got, e) })
	now := uint64(time.Second)
	for _, step := range steps {
		now += uint64(step.pause)
		switch {
		case step.close && (step.reset || step.from == Responses):
			return got, c.Close(now, step.reset)
		case step.close:
			c.HalfClose(step.from, now)
		case step.pause >= 8*time.Second: // the trace is stopped meanwhile
			return got, c.Stop(now - uint64(5*time.Second))
		}
		for _, p := range split(step.from, step.data) {
			p.Time = now
			c.Feed(p)
		}
	}
	return got, c.Close(now, false)
}

// splits are the ways in which calls may move the same bytes.
func splits() map[string]func() func(Direction, []byte) []Part {
	out := map[string]func() func(Direction, []byte) []Part{
		"one call a step": func() func(Direction, []byte) []Part {
			return func(d Direction, data []byte) []Part {
				return []Part{{Direction: d, Data: data, Length: uint64(len(data))}}
			}
		},
		// What is kept of a turn: the first bytes until the other side speaks.
		"1,000 bytes of a turn": func() func(Direction, []byte) []Part {
			last, room := Direction(-1), 0
			return func(d Direction, data []byte) []Part {
				if d != last {
					last, room = d, 1000
				}
				kept := min(room, len(data))
				room -= kept
				return []Part{{Direction: d, Data: data[:kept], Length: uint64(len(data))}}
			}
		},
	}
	for _, size := range []int{1, 2, 3, 7, 64} {
		out[fmt.Sprintf("%d bytes a call", size)] = func() func(Direction, []byte) []Part {
			return func(d Direction, data []byte) (parts []Part) {
				for len(data) > 0 {
					n := min(size, len(data))
					parts = append(parts, Part{Direction: d, Data: data[:n], Length: uint64(n)})
					data = data[n:]
				}
				return parts
			}
		}
	}
	return out
}

// line is what a test compares of an exchange.
func line(e Exchange) string {
	text := fmt.Sprintf("%s %s %d %d/%d", e.Method, e.Path, e.Status, e.RequestBytes, e.ResponseBytes)
	if e.Outcome != Answered {
		text += " " + string(e.Outcome)
	}
	if e.LastByte != 0 && e.LastByte-e.Began >= uint64(50*time.Millisecond) {
		text += " " + time.Duration(e.LastByte-e.Began).String()
	}
	return text
}

// Lengths that promise a body which never comes (field2, input 11), requests whose end nobody saw (13), and bodies that look
// like messages (15): the same requests are found however calls split them, and what is missing of bodies does not matter.
func TestDialogs(t *testing.T) {
	for name, want := range map[string][]string{
		"11-no-body-despite-a-length.txt": {
			"HEAD /1 200 0/0", "GET /2 304 0/0", "DELETE /3 204 0/0", "PUT /4 201 2/3", "GET /5 200 0/4 300ms", "GET /6 304 0/0", "GET /7 200 0/3",
			"GET /8 200 0/13 300ms",
		},
		"13-outcome-never-seen.txt": {
			"GET /gives-up 0 0/0 the client left 300ms", "GET /too-late 200 0/2 answered after the client had left 300ms", "GET /cut 200 0/4000 reset 100ms",
			"GET /silent 0 0/0 closed without an answer 100ms", "GET /no-last-chunk 200 0/4 the end of the answer is missing 100ms",
			"an incomplete request, 39 bytes", "POST /big 413 20000/0 answered before the request's body was through", "a connection without data",
			"GET /still-open 0 0/0 unfinished when the trace ended 3s",
		},
		"15-bodies-like-messages.txt": {"POST /upload 200 42/38 200ms", "POST /chunked 200 42/26", "PUT /long 201 20042/20038 200ms", "GET /last 200 0/0"},
	} {
		for how, split := range splits() {
			var got []string
			for _, steps := range dialogs(t, name) {
				exchanges, s := play(steps, split())
				for _, e := range exchanges {
					if e.Approximate || e.FirstByte != 0 && e.FirstByte < e.Began {
						t.Errorf("%s, %s: %+v", name, how, e)
					}
					got = append(got, line(e))
				}
				if s.Incomplete > 0 {
					got = append(got, fmt.Sprintf("an incomplete request, %d bytes", s.Incomplete))
				}
				if s.Empty {
					got = append(got, "a connection without data")
				}
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%s, %s:\n%s\nwant\n%s", name, how, strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		}
	}
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
