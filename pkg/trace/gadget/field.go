package gadget

import (
	"cmp"
	"fmt"
	"reflect"
	"strings"
	"time"
)

// Units of fields.
const (
	Nanoseconds = "ns" // a time.Duration; a filter takes values such as 10ms
	Bytes       = "bytes"
)

// Field is a field of a gadget's events.
type Field struct {
	Name   string // for --fields and --filter
	JSON   string // its name in JSON
	Help   string
	Unit   string // one of the units above, "" for none
	index  int
	common bool // all events have it
}

// commonFields are those that all events have.
var commonFields = fieldsOf(reflect.TypeFor[common](), true)

// Fields returns the fields of a gadget's events: those of all events first.
func (g Gadget) Fields() []Field {
	return append(append([]Field(nil), commonFields...), fieldsOf(reflect.TypeOf(g.New()).Elem(), false)...)
}

// fieldsOf returns the fields of a struct, by their tags.
func fieldsOf(of reflect.Type, common bool) (out []Field) {
	for i := range of.NumField() {
		tag := of.Field(i).Tag
		name, _, _ := strings.Cut(tag.Get("json"), ",")
		if name == "" || name == "-" {
			continue
		}
		out = append(out, Field{Name: cmp.Or(tag.Get("field"), name), JSON: name, Help: tag.Get("help"), Unit: tag.Get("unit"), index: i, common: common})
	}
	return out
}

// value returns the field's value in an event.
func (f Field) value(e *Event) reflect.Value {
	if f.common {
		return reflect.ValueOf(common{e.Time, e.PID, e.TID, e.Comm}).Field(f.index)
	}
	return reflect.ValueOf(e.Payload).Elem().Field(f.index)
}

// Text returns the field's value in an event, as a table shows it. The caller escapes it.
func (f Field) Text(e *Event) string {
	switch v := f.value(e).Interface().(type) {
	case time.Time:
		return v.Local().Format("15:04:05.000")
	case time.Duration:
		return formatDuration(v)
	default:
		return fmt.Sprint(v)
	}
}

// Text returns a field's value in an event, as a table shows it, and a dash if the event does not have the field.
func (e *Event) Text(field string) string {
	g, _ := find(e.Gadget)
	for _, f := range g.Fields() {
		if f.Name == field {
			return f.Text(e)
		}
	}
	return "-"
}

// CheckFields returns an error if none of the gadgets has one of the fields.
func CheckFields(gadgets []Gadget, names []string) error {
	for _, name := range names {
		if name == "pod" || name == "gadget" {
			continue
		}
		if _, err := lookupField(gadgets, name); err != nil {
			return err
		}
	}
	return nil
}

// lookupField returns a field of any of the gadgets. It returns an error if none of them has it.
func lookupField(gadgets []Gadget, name string) (Field, error) {
	var known []string
	for _, g := range gadgets {
		for _, f := range g.Fields() {
			if f.Name == name {
				return f, nil
			}
			known = append(known, f.Name)
		}
	}
	return Field{}, fmt.Errorf("field %q: must be one of %s", name, strings.Join(unique(known), ", "))
}

// unique returns the texts of a list, each once.
func unique(list []string) (out []string) {
	seen := map[string]bool{}
	for _, s := range list {
		if !seen[s] {
			seen[s] = true
			out = append(out, s)
		}
	}
	return out
}

// formatDuration formats a duration with at least three significant digits.
func formatDuration(d time.Duration) string {
	switch {
	case d >= time.Second:
		return d.Round(10 * time.Millisecond).String()
	case d >= time.Millisecond:
		return d.Round(10 * time.Microsecond).String()
	}
	return d.Round(10 * time.Nanosecond).String()
}
