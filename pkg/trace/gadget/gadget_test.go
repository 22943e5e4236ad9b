package gadget_test

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/osc-debug/osc-debug/pkg/trace/gadget"
)

// Gadgets are looked up in the order in which the user names them, each with what it does.
func TestGadgetsComeInTheOrderTheyAreNamed(t *testing.T) {
	backwards := gadget.Names()
	slices.Reverse(backwards)
	if len(backwards) < 2 {
		t.Fatalf("gadgets %v have no order", backwards)
	}
	for _, names := range [][]string{nil, gadget.Names(), backwards, {"tcp"}, {"tcp", "open"}} {
		gadgets, err := gadget.Lookup(names)
		if err != nil {
			t.Errorf("%v: %v", names, err)
			continue
		}
		var got []string
		for _, g := range gadgets {
			got = append(got, g.Name)
			if g.Help == "" {
				t.Errorf("%s has no help", g.Name)
			}
		}
		if !slices.Equal(got, names) {
			t.Errorf("got %v, want %v", got, names)
		}
	}
}

// An unknown gadget is an error that names it and the gadgets there are.
func TestUnknownGadgets(t *testing.T) {
	for _, names := range [][]string{{"fopen"}, {"open", "fopen"}, {"fopen", "tcp"}} {
		gadgets, err := gadget.Lookup(names)
		if err == nil || gadgets != nil {
			t.Errorf("%v: got %v, want an error alone", names, gadgets)
			continue
		}
		for _, word := range append(gadget.Names(), `"fopen"`) {
			if !strings.Contains(err.Error(), word) {
				t.Errorf("%v: no %s in: %v", names, word, err)
			}
		}
	}
	if _, err := gadget.Lookup([]string{"Open"}); err == nil {
		t.Error("gadget names are in lower case")
	}
}

// at is when the events of these tests happened.
var at = time.Date(2026, 11, 30, 12, 0, 0, 5_000_000, time.UTC)

// examples has an event of each gadget, with its line in a table.
var examples = []struct {
	payload gadget.Payload
	gadget  string
	name    string // what Show returns
	detail  string
	key     string
	failed  string
}{
	{&gadget.Open{Path: "/etc/hosts", FD: 3, Took: 1500}, "open", "open", "/etc/hosts  fd 3  1.5µs", "/etc/hosts", ""},
	{&gadget.Open{Path: "/no", FD: -1, Error: "ENOENT", Took: 2 * time.Millisecond}, "open", "open", "/no  ENOENT  2ms", "/no", "ENOENT"},
	{&gadget.Open{Path: "/long", FD: 3, Cut: true}, "open", "open", "/long…  fd 3  0s", "/long", ""},
	{&gadget.TCP{Op: "connect", Local: address("10.0.0.1:4000"), Remote: address("10.0.0.2:80")}, "tcp", "connect", "10.0.0.1:4000 -> 10.0.0.2:80", "connect 10.0.0.2:80", ""},
	{&gadget.TCP{Op: "connect", Local: address("10.0.0.1:4000"), Remote: address("10.0.0.2:80"), Error: "ECONNREFUSED"}, "tcp", "connect", "10.0.0.1:4000 -> 10.0.0.2:80  ECONNREFUSED", "connect 10.0.0.2:80", "ECONNREFUSED"},
	{&gadget.TCP{Op: "accept", Local: address("10.0.0.1:80"), Remote: address("10.0.0.2:4000")}, "tcp", "accept", "10.0.0.1:80 <- 10.0.0.2:4000", "accept on port 80", ""},
	{&gadget.TCP{Op: "close", Local: address("10.0.0.1:80"), Remote: address("10.0.0.2:4000"), Sent: 5, Received: 7, Took: time.Second}, "tcp", "close", "10.0.0.1:80 -> 10.0.0.2:4000  sent 5 B  received 7 B  1s", "close 10.0.0.2:4000", ""},
	{&gadget.Exec{File: "/bin/ls", Args: []string{"/bin/ls", "-l", "a b", ""}}, "exec", "exec", `/bin/ls -l "a b" ""`, "/bin/ls", ""},
	{&gadget.Exec{File: "/bin/busybox", Args: []string{"ls"}, Cut: true}, "exec", "exec", "/bin/busybox: ls…", "/bin/busybox", ""},
	{&gadget.Exec{File: "/no", Error: "ENOENT"}, "exec", "exec", "/no  ENOENT", "/no", "ENOENT"},
	{&gadget.Exit{Code: 3, Lived: time.Minute}, "exit", "exit", "code 3  after 1m0s", "code 3", "code 3"},
	{&gadget.Exit{Code: 0, Lived: time.Minute}, "exit", "exit", "code 0  after 1m0s", "code 0", ""},
	{&gadget.Exit{Code: 139, Signal: "SIGSEGV", Core: true}, "exit", "exit", "SIGSEGV (core dumped)  after 0s", "SIGSEGV", "SIGSEGV"},
	{&gadget.Signal{Signal: "SIGTERM", From: 7, Sender: "sh", Result: "delivered"}, "signal", "signal", "SIGTERM from sh (7): delivered", "SIGTERM from sh", ""},
	{&gadget.Syscalls{Name: "openat", Count: 4, Total: 8 * time.Microsecond, Errors: map[string]uint64{"ENOENT": 3, "EACCES": 1}, Buckets: []uint64{0, 4}}, "syscalls", "syscalls", "openat  4 calls  2µs each  EACCES 1  ENOENT 3", "openat", ""},
	{&gadget.Slow{Name: "read", Args: gadget.Arguments{{Name: "bytes", Number: 10}, {Name: "fd", Number: 3}}, Result: 10, Took: time.Second}, "slow", "slow", "read  bytes 10  fd 3  = 10  1s", "read", ""},
	{&gadget.Slow{Name: "openat", Args: gadget.Arguments{{Name: "path", Path: "/x"}}, Result: -2, Error: "ENOENT", Took: time.Second}, "slow", "slow", "openat  path /x  ENOENT  1s", "openat", "ENOENT"},
	{&gadget.OOM{By: 7, Needy: "java", Score: 3}, "oom", "oom", "killed: java (7) needed memory; score adjustment 3", "needed by java", "OOM"},
}

func address(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

// Each gadget has an example, and shows it in a line of a table and in summaries.
func TestEventsAreShown(t *testing.T) {
	shown := map[string]bool{}
	for _, c := range examples {
		shown[c.gadget] = true
		name, detail := c.payload.Show()
		if name != c.name || detail != c.detail {
			t.Errorf("%+v is shown as %q %q, want %q %q", c.payload, name, detail, c.name, c.detail)
		}
		if key, failed := c.payload.Key(), c.payload.Failed(); key != c.key || failed != c.failed {
			t.Errorf("%+v is counted as %q %q, want %q %q", c.payload, key, failed, c.key, c.failed)
		}
	}
	for _, name := range gadget.Names() {
		if !shown[name] {
			t.Errorf("gadget %s has no example", name)
		}
	}
}

// An event is read back from its JSON as it was, with whatever comes before its fields.
func TestEventsAreReadBack(t *testing.T) {
	for _, c := range examples {
		e := &gadget.Event{Gadget: c.gadget, Time: at, PID: 1, TID: 2, Comm: "web", Payload: c.payload}
		text, err := e.AppendJSON(nil, `"pod":"a",`)
		if err != nil {
			t.Fatal(err)
		}
		again, err := gadget.DecodeEvent(c.gadget, text)
		if err != nil || !reflect.DeepEqual(again, e) {
			t.Errorf("read back as %+v, %v\nfrom %s", again, err, text)
		}
		var object map[string]json.RawMessage
		if err := json.Unmarshal(text, &object); err != nil || string(object["pod"]) != `"a"` || object[c.gadget] == nil {
			t.Errorf("%s: %v", text, err)
		}
	}
	if _, err := gadget.DecodeEvent("magic", []byte("{}")); err == nil {
		t.Error("an event of an unknown gadget is read")
	}
}

// Every field of an event is described: the documentation is made from that. Names are unique in a gadget.
func TestFieldsAreDescribed(t *testing.T) {
	for _, g := range gadget.All() {
		var names []string
		for _, f := range g.Fields() {
			names = append(names, f.Name)
			if f.Help == "" || f.Name == "" || strings.HasSuffix(f.Name, "Ns") {
				t.Errorf("%s: field %+v is not described", g.Name, f)
			}
		}
		slices.Sort(names)
		if len(slices.Compact(slices.Clone(names))) != len(names) {
			t.Errorf("%s has a field twice: %v", g.Name, names)
		}
	}
}

// A filter selects events by one field. Events of gadgets without the field pass.
func TestFilters(t *testing.T) {
	open := &gadget.Event{Gadget: "open", Time: at, PID: 7, Comm: "web", Payload: &gadget.Open{Path: "/etc/hosts", FD: 3, Took: 20 * time.Millisecond}}
	exit := &gadget.Event{Gadget: "exit", Time: at, PID: 8, Comm: "sh", Payload: &gadget.Exit{Code: 1}}
	gadgets, err := gadget.Lookup([]string{"open", "exit"})
	if err != nil {
		t.Fatal(err)
	}
	for filter, want := range map[string][2]bool{
		"path=/etc/hosts":  {true, true},
		"path!=/etc/hosts": {false, true},
		"path~^/etc/":      {true, true},
		"path~^/var/":      {false, true},
		"pid=7":            {true, false},
		"pid>7":            {false, true},
		"pid<8":            {true, false},
		"pid=7.0":          {true, false},
		"comm=sh":          {false, true},
		"took>10ms":        {true, true},
		"took>30ms":        {false, true},
		"took<30000000":    {true, true},
		"code=1":           {true, true},
		"code!=1":          {true, false},
		"error=":           {true, true},
		"error!=":          {false, true},
		"error~.":          {false, true},
	} {
		f, err := gadget.ParseFilter(filter, gadgets)
		if err != nil {
			t.Errorf("%s: %v", filter, err)
			continue
		}
		if got := [2]bool{f.Matches(gadgets[0], open), f.Matches(gadgets[1], exit)}; got != want {
			t.Errorf("%s: %v, want %v", filter, got, want)
		}
	}
	for _, filter := range []string{"", "path", "=x", "nothing=1", "path>a", "pid<", "path~(", "sent>1", "path=" + strings.Repeat("x", 300)} {
		if f, err := gadget.ParseFilter(filter, gadgets); err == nil {
			t.Errorf("%q is accepted: %v", filter, f)
		}
	}
}

// A histogram has a line for each power of two from the first that occurs, with bars in proportion.
func TestHistogram(t *testing.T) {
	want := "" +
		"      < 8ns         80  " + strings.Repeat("#", 40) + "\n" +
		"     < 16ns          0  \n" +
		"     < 32ns          1  #\n" +
		"     < 64ns         40  " + strings.Repeat("#", 20) + "\n"
	if got := gadget.Histogram([]uint64{0, 0, 80, 0, 1, 40, 0}); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := gadget.Histogram(nil); got != "" {
		t.Errorf("of nothing: %q", got)
	}
}

// FuzzFilter: no filter makes the parser or a match panic.
func FuzzFilter(f *testing.F) {
	for _, s := range []string{"path=/x", "path~^/(a|b)+$", "took>10ms", "pid<7", "error!="} {
		f.Add(s, "/x")
	}
	all := gadget.All()
	f.Fuzz(func(t *testing.T, text, path string) {
		filter, err := gadget.ParseFilter(text, all)
		if err != nil {
			return
		}
		filter.Matches(all[0], &gadget.Event{Gadget: "open", Comm: path, Payload: &gadget.Open{Path: path}})
	})
}
