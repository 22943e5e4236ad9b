// Package http1 finds the requests on HTTP/1.x connections, in what a program reads and writes. Parts of what it read or wrote
// may be missing: as long as they are parts of a body, the requests are the same.
package http1

// Direction is one of the two of a connection.
type Direction int

// Directions: what the client sends, and what the server sends.
const (
	Requests Direction = iota
	Responses
)

// Part is what one system call moved. All times are in ns, of one clock.
type Part struct {
	Direction Direction
	Time      uint64
	Data      []byte // its first bytes
	Length    uint64 // bytes that it moved, at least those of Data
	Thread    uint32 // that made the call
}

// Outcome is how a request ended.
type Outcome string

// Outcomes. A status is never made up for them: Exchange has one only if a status line came.
const (
	Answered      Outcome = "answered"
	AnsweredLate  Outcome = "answered after the client had left"
	AnsweredEarly Outcome = "answered before the request's body was through"
	Cut           Outcome = "the end of the answer is missing"
	Reset         Outcome = "reset"
	NoAnswer      Outcome = "closed without an answer"
	ClientLeft    Outcome = "the client left"
	Unfinished    Outcome = "unfinished when the trace ended"
)

// Exchange is a request, and its answer if there is one.
type Exchange struct {
	Method  string
	Path    string // without the query
	PathCut bool
	Status  int // 0: no status line came
	Outcome Outcome
	Thread  uint32 // that read or wrote the end of the request's header

	Began     uint64 // first byte of the request
	FirstByte uint64 // of the final answer, 0: none
	LastByte  uint64 // of the answer, or when the connection ended without one
	Left      uint64 // when the client closed its side before the answer began, 0: it did not

	RequestBytes, ResponseBytes uint64 // of the bodies, without the frames of chunks
	Approximate                 bool   // bytes of a header or frame were missing: the counts include what follows

	requestDone, responseDone bool
}

// Summary is what else there is to say of a connection.
type Summary struct {
	Requests   int
	Incomplete uint64 // bytes of a request whose header did not end
	Empty      bool   // nothing was said
	Other      bool   // another protocol, or one that it was upgraded to
}

// Conn is a connection. It is not safe for concurrent use.
type Conn struct {
	emit            func(Exchange)
	halves          [2]half
	open            []*Exchange // requests that are not over, the oldest first
	now             uint64
	thread          uint32
	interim, orphan bool // the response that is read has a status of 1xx; it is the answer to no request
	clientClosed    uint64
	serverClosed    uint64
	summary         Summary
}

// NewConn returns a connection on which nothing was said yet. It calls emit with each request that is over, in the order of
// the requests.
func NewConn(emit func(Exchange)) *Conn {
	return &Conn{emit: emit, summary: Summary{Empty: true}}
}

// Feed takes what a system call moved.
func (c *Conn) Feed(p Part) {
	if p.Length == 0 {
		return
	}
	c.summary.Empty = false
	c.now, c.thread = p.Time, p.Thread
	h := &c.halves[p.Direction]
	h.take(p.Data, p.Time, c.owner(p.Direction))
	h.skip(p.Length-uint64(len(p.Data)), p.Time, c.owner(p.Direction))
}

func (c *Conn) owner(d Direction) owner {
	if d == Requests {
		return requests{c}
	}
	return responses{c}
}

// HalfClose takes that one side says no more. A client that did so may still wait for its answer.
func (c *Conn) HalfClose(d Direction, now uint64) {
	c.now = now
	if d == Requests {
		c.clientClosed = now
		return
	}
	c.serverClosed = now
	if h := &c.halves[Responses]; h.state == untilClose || h.state == untilAnswer {
		h.end(responses{c})
	}
}

// Close takes the end of the connection, and returns what else there is to say of it.
func (c *Conn) Close(now uint64, reset bool) Summary {
	if !reset && c.serverClosed == 0 {
		c.HalfClose(Responses, now)
	}
	return c.finish(now, func(e *Exchange) Outcome {
		switch {
		case e.responseDone:
			return AnsweredEarly
		case reset && (e.Status != 0 || c.clientClosed == 0):
			return Reset
		case e.Status != 0:
			return Cut
		case c.clientClosed != 0:
			e.Left = c.clientClosed
			return ClientLeft
		}
		return NoAnswer
	})
}

// Stop takes the end of the trace, while the connection goes on.
func (c *Conn) Stop(now uint64) Summary {
	return c.finish(now, func(*Exchange) Outcome { return Unfinished })
}

// finish emits the requests that are not over.
func (c *Conn) finish(now uint64, outcome func(*Exchange) Outcome) Summary {
	for _, e := range c.open {
		last := c.halves[Responses]
		if !e.requestDone { // it is the newest
			e.RequestBytes = c.halves[Requests].body
		}
		if !e.responseDone && e.Status != 0 {
			e.ResponseBytes = last.body
		}
		if e.Outcome = outcome(e); !e.responseDone {
			e.LastByte = now
		}
		c.send(e)
	}
	c.open = nil
	if h := &c.halves[Requests]; h.state == inStart || h.state == inHeader {
		c.summary.Incomplete = h.message
	}
	return c.summary
}

func (c *Conn) send(e *Exchange) {
	c.summary.Requests++
	c.emit(*e)
}

// flush emits the requests that are over, in their order.
func (c *Conn) flush() {
	for len(c.open) > 0 && c.open[0].requestDone && c.open[0].responseDone {
		c.send(c.open[0])
		c.open = c.open[1:]
	}
}

// unanswered returns the oldest request whose answer has not ended, nil if there is none.
func (c *Conn) unanswered() *Exchange {
	for _, e := range c.open {
		if !e.responseDone {
			return e
		}
	}
	return nil
}

// tunnel ends the HTTP on the connection.
func (c *Conn) tunnel() {
	c.summary.Other = true
	c.halves[Requests].state, c.halves[Responses].state = inTunnel, inTunnel
}

// requests reads what the client sends.
type requests struct{ *Conn }

func (c requests) startRead() bool {
	h := &c.halves[Requests]
	var ok bool
	if h.start, ok = parseRequestLine(h.line, h.cut); !ok {
		c.tunnel()
		return false
	}
	if answer := &c.halves[Responses]; answer.state == untilAnswer {
		c.now = answer.last
		answer.end(responses(c))
		c.now = h.last
	}
	return true
}

func (c requests) headRead() state {
	h := &c.halves[Requests]
	c.open = append(c.open, &Exchange{Method: h.start.method, Path: h.start.path, PathCut: h.start.pathCut, Thread: c.thread, Began: h.began})
	switch {
	case h.framing.chunked:
		return inChunkSize
	case h.framing.given:
		return inBody
	}
	return inStart
}

func (c requests) ended() {
	if len(c.open) == 0 {
		return
	}
	e := c.open[len(c.open)-1]
	e.requestDone, e.RequestBytes = true, c.halves[Requests].body
	c.flush()
}

// responses reads what the server sends.
type responses struct{ *Conn }

func (c responses) startRead() bool {
	h := &c.halves[Responses]
	var ok bool
	if h.start, ok = parseStatusLine(h.line); !ok {
		c.tunnel()
		return false
	}
	e := c.unanswered()
	c.orphan = e == nil
	if c.interim = h.start.status < 200 && h.start.status != switching; c.interim || c.orphan {
		return true
	}
	e.Status, e.FirstByte = h.start.status, h.began
	if c.clientClosed != 0 && c.clientClosed < h.began {
		e.Left = c.clientClosed
	}
	return true
}

// Statuses with a meaning for the length of a body (RFC 9112, section 6.3).
const (
	switching   = 101
	noContent   = 204
	notModified = 304
)

func (c responses) headRead() state {
	h := &c.halves[Responses]
	status, method := h.start.status, ""
	if e := c.unanswered(); e != nil && !c.orphan {
		method = e.Method
	}
	switch {
	case c.interim, method == "HEAD", status == noContent, status == notModified:
		return inStart
	case status == switching, method == "CONNECT" && status < 300:
		c.ended()
		c.tunnel()
		return inTunnel
	case h.framing.chunked:
		return inChunkSize
	case h.framing.given:
		return inBody
	}
	return untilClose
}

func (c responses) ended() {
	e := c.unanswered()
	if c.interim || c.orphan || e == nil {
		return
	}
	h, request := &c.halves[Responses], &c.halves[Requests]
	e.responseDone, e.LastByte, e.ResponseBytes, e.Outcome = true, c.now, h.body, Answered
	if e.Left != 0 {
		e.Outcome = AnsweredLate
	}
	if request.state == untilAnswer && e == c.open[len(c.open)-1] {
		e.Approximate = true
		request.end(requests(c))
	}
	e.Approximate = e.Approximate || h.state == untilAnswer
	c.flush()
}
