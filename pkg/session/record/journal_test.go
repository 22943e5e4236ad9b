package record

import (
	"strings"
	"testing"

	"github.com/osc-debug/osc-debug/pkg/reason"
)

func TestJournalsThatCannotBeUsed(t *testing.T) {
	good, err := journalWith(nil).Encode()
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{good, strings.ReplaceAll(good, `":`, `" : `), strings.ReplaceAll(good, ",", ",\n\t")} {
		if _, err := Decode(text); err != nil {
			t.Errorf("a valid journal: %v: %s", err, text)
		}
	}
	for name, c := range map[string]struct {
		text string
		want reason.Code
	}{
		"empty":         {"", reason.JournalMalformed},
		"not JSON":      {"{", reason.JournalMalformed},
		"too long":      {good + strings.Repeat(" ", MaxJournal), reason.JournalTooLong},
		"newer version": {mustEncode(journalWith(func(j *Journal) { j.Version = 2 })), reason.JournalVersionUnknown},
		"no ID":         {mustEncode(journalWith(func(j *Journal) { j.Session = "../../x" })), reason.JournalContradictory},
		"unknown state": {mustEncode(journalWith(func(j *Journal) { j.State = "done" })), reason.JournalContradictory},
		"too many set":  {mustEncode(journalWith(func(j *Journal) { j.Set.Backends = make([]Weight, 5) })), reason.JournalContradictory},
		"long UID":      {mustEncode(journalWith(func(j *Journal) { j.RouteUID = strings.Repeat("x", 65) })), reason.JournalContradictory},
		"long user":     {mustEncode(journalWith(func(j *Journal) { j.User = strings.Repeat("x", 321) })), reason.JournalContradictory},
		"long workload": {mustEncode(journalWith(func(j *Journal) { j.Workload = strings.Repeat("x", 321) })), reason.JournalContradictory},
		"long name":     {mustEncode(journalWith(func(j *Journal) { j.Before.Backends[0].Service = strings.Repeat("x", 254) })), reason.JournalContradictory},
		"other case":    {strings.Replace(good, `"service"`, `"SERVICE"`, 1), reason.JournalContradictory},
		"escaped name":  {strings.Replace(good, `"service":"w`, `"service":"\\u0077`, 1), reason.JournalContradictory},
		"no backends":   {mustEncode(journalWith(func(j *Journal) { j.Before.Backends = nil })), reason.JournalContradictory},
	} {
		if _, err := Decode(c.text); reason.CodeOf(err) != c.want {
			t.Errorf("%s: got %v, want %s", name, err, c.want)
		}
	}
}

func journalWith(change func(*Journal)) *Journal {
	j := journal()
	j.Before = WeightsOf(newRoute(ptr[int32](100)))
	if change != nil {
		change(j)
	}
	return j
}

func mustEncode(j *Journal) string {
	text, err := j.Encode()
	if err != nil {
		panic(err)
	}
	return text
}

// NamesPod accepts only the names of the session's own pods.
func TestNamesPod(t *testing.T) {
	two := journal()
	two.Pods = 2
	for name, want := range map[string]struct{ known, unknown bool }{
		PodName(id, 0):           {true, true},
		PodName(id, 1):           {true, true},
		PodName(id, 2):           {false, true},
		PodName(id, 0) + "a":     {false, false},
		PodName(id, -1):          {false, false},
		ServiceName(id):          {false, false},
		ServiceName(id) + "-":    {false, false},
		PodName("kjhgfdcb", 0):   {false, false},
		"forged":                 {false, false},
		"":                       {false, false},
		"x" + PodName(id, 0)[1:]: {false, false},
	} {
		if NamesPod(name, id, two) != want.known || NamesPod(name, id, journal()) != want.unknown || NamesPod(name, id, nil) != want.unknown {
			t.Errorf("%q: of two pods %v, of any number %v", name, NamesPod(name, id, two), NamesPod(name, id, nil))
		}
	}
}
