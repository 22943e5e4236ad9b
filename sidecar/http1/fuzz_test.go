package http1

import (
	"reflect"
	"testing"
)

// FuzzConn feeds what any client and server may say: script says, by two bytes each, who sends how much of both texts, and how
// much of it is kept. Nothing of it may crash the parser, no request has more bytes than were sent, and if all bytes are kept,
// the requests are the same when each byte comes alone.
func FuzzConn(f *testing.F) {
	for _, name := range []string{"11-no-body-despite-a-length.txt", "13-outcome-never-seen.txt", "15-bodies-like-messages.txt"} {
		for _, steps := range dialogs(f, name) {
			var sent [2][]byte
			var script []byte
			for _, s := range steps {
				sent[s.from] = append(sent[s.from], s.data...)
				for left := len(s.data); left > 0; left -= 64 {
					script = append(script, byte(s.from)<<7|byte(min(left, 64)-1), 0xff)
				}
			}
			f.Add(sent[Requests], sent[Responses], script)
		}
	}
	f.Fuzz(func(t *testing.T, requests, responses, script []byte) {
		whole, total := converse(requests, responses, script, false, false)
		for _, e := range whole {
			if e.RequestBytes > total[Requests] || e.ResponseBytes > total[Responses] || len(e.Path) > MaxPath || e.Outcome == "" {
				t.Errorf("%+v of %v bytes", e, total)
			}
		}
		if single, _ := converse(requests, responses, script, true, false); !reflect.DeepEqual(whole, single) {
			t.Errorf("in parts\n%+v\nbyte by byte\n%+v", whole, single)
		}
		converse(requests, responses, script, false, true)
	})
}

// converse plays a script and returns the requests, and how many bytes were sent in each direction.
func converse(requests, responses, script []byte, single, holes bool) (got []Exchange, total [2]uint64) {
	c := NewConn(func(e Exchange) { got = append(got, e) })
	left := [2][]byte{requests, responses}
	now := uint64(1)
	for ; len(script) >= 2; script = script[2:] {
		d := Direction(script[0] >> 7)
		n := min(int(script[0]&0x7f)+1, len(left[d]))
		data := left[d][:n]
		left[d] = left[d][n:]
		total[d] += uint64(n)
		now++
		switch {
		case single:
			for i := range data {
				c.Feed(Part{Direction: d, Time: now, Data: data[i : i+1], Length: 1})
			}
		case holes:
			c.Feed(Part{Direction: d, Time: now, Data: data[:n*int(script[1])/255], Length: uint64(n)})
		default:
			c.Feed(Part{Direction: d, Time: now, Data: data, Length: uint64(n)})
		}
	}
	c.Close(now+1, false)
	return got, total
}
