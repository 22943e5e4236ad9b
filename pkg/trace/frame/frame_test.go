package frame_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/netip"
	"reflect"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/osc-debug/osc-debug/pkg/trace/frame"
	"github.com/osc-debug/osc-debug/pkg/trace/gadget"
)

// A ledger is balanced if every event that was seen was delivered, lost or dropped, once.
func TestBalancedLedgers(t *testing.T) {
	for _, c := range []struct {
		ledger frame.Ledger
		want   bool
	}{
		{frame.Ledger{}, true},
		{frame.Ledger{Seen: 10, Delivered: 10}, true},
		{frame.Ledger{Seen: 10, Delivered: 7, LostKernel: 2, Dropped: 1}, true},
		{frame.Ledger{Seen: 10, Delivered: 7, LostKernel: 2}, false},
		{frame.Ledger{Seen: 10, Delivered: 7, Dropped: 1}, false},
		{frame.Ledger{Seen: 10, LostKernel: 2, Dropped: 1}, false},
		{frame.Ledger{Seen: 10, Delivered: 10, Dropped: 1}, false},
		{frame.Ledger{Delivered: 1}, false},
		{frame.Ledger{Seen: 10, Delivered: 6, Filtered: 4}, true},
		{frame.Ledger{Seen: 10, Delivered: 6, Filtered: 3}, false},
	} {
		if got := c.ledger.Balanced(); got != c.want {
			t.Errorf("%+v is balanced: %v, want %v", c.ledger, got, c.want)
		}
	}
}

// A ledger's line has its four counts, and says so if they do not add up.
func TestTheLineOfALedger(t *testing.T) {
	number := regexp.MustCompile(`\d+`)
	balanced := frame.Ledger{Seen: 10, Delivered: 7, LostKernel: 2, Dropped: 1}.String()
	short := frame.Ledger{Seen: 11, Delivered: 7, LostKernel: 2, Dropped: 1}.String()
	for line, want := range map[string][]string{balanced: {"10", "7", "2", "1"}, short: {"11", "7", "2", "1"}} {
		if got := number.FindAllString(line, -1); !slices.Equal(got, want) {
			t.Errorf("counts %v, want %v in: %s", got, want, line)
		}
	}
	if number.ReplaceAllString(balanced, "N") == number.ReplaceAllString(short, "N") {
		t.Errorf("an unbalanced ledger reads like a balanced one: %s", short)
	}
}

// A frame is one line of JSON. It has the field of its kind and no other, and is read back as it was.
func TestAFrameHasTheFieldOfItsKind(t *testing.T) {
	at := time.Date(2026, 1, 2, 15, 4, 5, 678_000_000, time.UTC)
	for _, c := range []struct {
		name  string
		frame frame.Frame
		field string
	}{
		{"a gadget that works", frame.Frame{Seq: 1, Kind: frame.KindGadget, Gadget: "open", Status: &frame.Status{State: frame.Works}}, "status"},
		{"a gadget that does not", frame.Frame{Seq: 2, Kind: frame.KindGadget, Gadget: "tcp", Status: &frame.Status{State: frame.Unavailable, Reason: "no BTF"}}, "status"},
		{"a file", frame.Frame{Seq: 3, Kind: frame.KindEvent, Gadget: "open", Event: &gadget.Event{
			Gadget: "open", Time: at, PID: 1, TID: 2, Comm: "web", Payload: &gadget.Open{Path: "/tmp/two\nlines \"quoted\"", Flags: 0o2, FD: -1, Error: "ENOENT", Took: 1500 * time.Nanosecond},
		}}, "event"},
		{"a connection", frame.Frame{Seq: 4, Kind: frame.KindEvent, Gadget: "tcp", Event: &gadget.Event{
			Gadget: "tcp", Time: at, PID: 1, TID: 2, Comm: "web", Payload: &gadget.TCP{
				Op: "close", Local: netip.MustParseAddrPort("10.0.0.1:8080"), Remote: netip.MustParseAddrPort("[fd00::1]:41000"),
				Sent: 1 << 40, Received: 3, Took: time.Minute,
			},
		}}, "event"},
		{"an empty ledger", frame.Frame{Seq: 5, Kind: frame.KindLedger, Gadget: "open", Ledger: &frame.Ledger{}}, "ledger"},
		{"a ledger", frame.Frame{Seq: 1 << 60, Kind: frame.KindLedger, Gadget: "open", Ledger: &frame.Ledger{Seen: 4, Delivered: 1, LostKernel: 2, Dropped: 1}}, "ledger"},
	} {
		t.Run(c.name, func(t *testing.T) {
			line, err := json.Marshal(c.frame)
			if err != nil {
				t.Fatal(err)
			}
			if bytes.ContainsRune(line, '\n') {
				t.Errorf("more than one line: %s", line)
			}
			var fields map[string]json.RawMessage
			if err := json.Unmarshal(line, &fields); err != nil {
				t.Fatal(err)
			}
			want := []string{"gadget", "kind", "seq", c.field}
			slices.Sort(want)
			if got := slices.Sorted(maps.Keys(fields)); !slices.Equal(got, want) {
				t.Errorf("fields %v, want %v", got, want)
			}
			var again frame.Frame
			if err := json.Unmarshal(line, &again); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(again, c.frame) {
				t.Errorf("read back as %+v\nfrom %s", again, line)
			}
		})
	}
}

// The frame of an event is written as encoding/json writes it.
func TestTheFrameOfAnEvent(t *testing.T) {
	e := &gadget.Event{Gadget: "open", Time: time.Date(2026, 1, 2, 15, 4, 5, 678_000_000, time.UTC), PID: 7, TID: 8, Comm: "<web>\n", Payload: &gadget.Open{Path: "/x\x80"}}
	want, err := json.Marshal(frame.Frame{Seq: 9, Kind: frame.KindEvent, Gadget: "open", Event: e})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := frame.AppendEvent([]byte("before "), 9, e); err != nil || string(got) != "before "+string(want)+"\n" {
		t.Errorf("got %s, %v\nwant %s", got, err, want)
	}
}

// FuzzFrame: whatever a sandbox sends, a frame of it can be written again and read back as it was.
func FuzzFrame(f *testing.F) {
	f.Add([]byte(`{"seq":1,"kind":"event","gadget":"open","event":{"time":"2026-01-02T15:04:05Z","pid":1,"open":{"path":"/x","fd":3}}}`))
	f.Add([]byte(`{"seq":2,"kind":"event","gadget":"slow","event":{"slow":{"name":"read","args":{"fd":"3","path":"x"}}}}`))
	f.Add([]byte(`{"seq":2,"kind":"event","gadget":"tcp","event":{"tcp":{"op":"connect","local":"1.2.3.4:5","remote":"[::1]:6"}}}`))
	f.Add([]byte(`{"seq":2,"kind":"event","gadget":"slow","event":{"slow":{"name":"read","args":{"x\":\"1\"}},\"pod\":\"other\n":"3"}}}}`))
	f.Add([]byte(`{"seq":3,"kind":"ledger","gadget":"open","ledger":{"seen":18446744073709551615,"delivered":1}}`))
	f.Add([]byte(`{"seq":4,"kind":"end","sum":"x","state":{"gadgets":{}}}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		var first, again frame.Frame
		if json.Unmarshal(line, &first) != nil {
			return
		}
		if first.Event != nil {
			if y := first.Event.Time.Year(); y < 0 || y > 9999 {
				return // JSON has no such times
			}
			line, err := frame.AppendEvent(nil, first.Seq, first.Event)
			if err != nil || !json.Valid(line) || bytes.Count(line, []byte("\n")) != 1 {
				t.Fatalf("written as %q, %v", line, err)
			}
		}
		text, err := json.Marshal(first)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, &again); err != nil {
			t.Fatalf("%s is not read back: %v", text, err)
		}
		if twice, err := json.Marshal(again); err != nil || !bytes.Equal(twice, text) {
			t.Errorf("%s, %v\nafter %s", twice, err, text)
		}
		if first.Ledger != nil {
			_ = first.Ledger.String()
		}
	})
}
