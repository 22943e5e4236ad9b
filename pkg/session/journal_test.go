package session

import (
	"strings"
	"testing"
)

func TestJournalsThatCannotBeUsed(t *testing.T) {
	good, err := journalWith(nil).Encode()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Decode(good); err != nil {
		t.Fatalf("a good one: %v", err)
	}
	for name, text := range map[string]string{
		"empty": "", "not JSON": "{", "of the future": mustEncode(journalWith(func(j *Journal) { j.Version = 2 })),
		"no ID": mustEncode(journalWith(func(j *Journal) { j.Session = "../../x" })), "unknown state": mustEncode(journalWith(func(j *Journal) { j.State = "done" })),
		"too long": good + strings.Repeat(" ", MaxJournal), "no backends": mustEncode(journalWith(func(j *Journal) { j.Before.Backends = nil })),
	} {
		if _, err := Decode(text); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func journalWith(change func(*Journal)) *Journal {
	j := journal()
	j.Before = WeightsOf(route(ptr[int32](100)))
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

// Only a session's own pods have names that are its pods'.
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
