package gadget_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/osc-debug/osc-debug/pkg/trace/gadget"
)

// byLibrary encodes an event as encoding/json does, without our encoder.
func byLibrary(t *testing.T, e *gadget.Event) string {
	t.Helper()
	text := func(v any) []byte {
		out, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	return fmt.Sprintf(`{"time":%s,"pid":%d,"tid":%d,"comm":%s,%q:%s}`, text(e.Time), e.PID, e.TID, text(e.Comm), e.Gadget, text(e.Payload))
}

// hostile are texts that must be escaped.
var hostile = []string{"", "plain", "\x1b[31m", "a\"b\\c", "new\nline", "\x80\xfe", "<script>&", "é\u2028\u2029", "\x00\x7f", "\xed\xa0\x80"}

// Our encoder writes what encoding/json writes: for the examples of all gadgets, for hostile texts in each of their
// fields, and for the limits of numbers and times.
func TestEventsAreEncodedAsTheLibraryDoes(t *testing.T) {
	check := func(at time.Time, comm, name string, p gadget.Payload) {
		t.Helper()
		e := &gadget.Event{Gadget: name, Time: at, PID: 1<<32 - 1, TID: 2, Comm: comm, Payload: p}
		got, err := e.AppendJSON(nil, "")
		if want := byLibrary(t, e); err != nil || string(got) != want {
			t.Errorf("got  %s, %v\nwant %s", got, err, want)
		}
	}
	for _, c := range examples {
		for _, at := range []time.Time{at, at.Add(1), at.Add(100 * time.Nanosecond), at.Truncate(time.Second), at.Add(-time.Hour), time.Unix(0, 0).UTC(), {}, at.In(time.FixedZone("", 3600))} {
			check(at, "web", c.gadget, c.payload)
		}
		for _, text := range hostile {
			p := reflect.New(reflect.TypeOf(c.payload).Elem())
			p.Elem().Set(reflect.ValueOf(c.payload).Elem())
			for i := range p.Elem().NumField() {
				switch f := p.Elem().Field(i); f.Kind() {
				case reflect.String:
					f.SetString(text)
				case reflect.Int32, reflect.Int64:
					f.SetInt(-1 << 31)
				case reflect.Uint64:
					f.SetUint(1<<64 - 1)
				case reflect.Slice:
					if f.Type().Elem().Kind() == reflect.String {
						f.Set(reflect.ValueOf([]string{text, text}))
					}
				}
			}
			check(at, text, c.gadget, p.Interface().(gadget.Payload))
		}
		check(at, "", c.gadget, reflect.New(reflect.TypeOf(c.payload).Elem()).Interface().(gadget.Payload)) // empty
	}
}

// FuzzEncode: an event with any texts is encoded as encoding/json does, and read back.
func FuzzEncode(f *testing.F) {
	for _, s := range hostile {
		f.Add(s, s, int64(1_700_000_000_123_456_789))
	}
	f.Fuzz(func(t *testing.T, comm, text string, ns int64) {
		for name, p := range map[string]gadget.Payload{
			"open": &gadget.Open{Path: text, Dir: comm, FlagNames: []string{text, comm}},
			"slow": &gadget.Slow{Name: "openat", Args: gadget.Arguments{{Name: "path", Path: text}, {Name: "dirfd", Number: ns}}},
		} {
			e := &gadget.Event{Gadget: name, Time: time.Unix(0, ns).UTC(), Comm: comm, Payload: p}
			got, err := e.AppendJSON(nil, "")
			if want := byLibrary(t, e); err != nil || string(got) != want {
				t.Errorf("got  %s, %v\nwant %s", got, err, want)
			}
			if _, err := gadget.DecodeEvent(name, got); err != nil {
				t.Errorf("%s is not read back: %v", got, err)
			}
		}
	})
}
