package gadget

import (
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// maxFilter is the longest filter, in bytes.
const maxFilter = 256

// Filter selects events by a field: FIELD=VALUE, FIELD!=VALUE, FIELD~REGEXP, FIELD>NUMBER or FIELD<NUMBER.
type Filter struct {
	text, field, op, value string
	pattern                *regexp.Regexp
	number                 float64
	numeric                bool // value is a number or a duration
}

// String returns the filter as it was given.
func (f Filter) String() string { return f.text }

var filterForm = regexp.MustCompile(`^([a-zA-Z]+)(!=|=|~|>|<)(.*)$`)

// ParseFilter parses a filter for events of some gadgets. A gadget that does not have the field is not filtered by
// it.
func ParseFilter(text string, gadgets []Gadget) (Filter, error) {
	parts := filterForm.FindStringSubmatch(text)
	if parts == nil || len(text) > maxFilter {
		return Filter{}, fmt.Errorf("filter %.60q: must be FIELD=VALUE, FIELD!=VALUE, FIELD~REGEXP, FIELD>NUMBER or FIELD<NUMBER, in at most %d bytes", text, maxFilter)
	}
	f := Filter{text: text, field: parts[1], op: parts[2], value: parts[3]}
	if _, err := lookupField(gadgets, f.field); err != nil {
		return Filter{}, err
	}
	if f.op == "~" {
		pattern, err := regexp.Compile(f.value) // linear in time: RE2
		if err != nil {
			return Filter{}, fmt.Errorf("filter %q: %w", text, err)
		}
		f.pattern = pattern
		return f, nil
	}
	f.number, f.numeric = parseNumber(f.value)
	if (f.op == ">" || f.op == "<") && !f.numeric {
		return Filter{}, fmt.Errorf("filter %q: %q must be a number, or a duration such as 10ms", text, f.value)
	}
	return f, nil
}

// parseNumber parses a number, or a duration in ns.
func parseNumber(s string) (float64, bool) {
	if n, err := strconv.ParseFloat(s, 64); err == nil {
		return n, true
	}
	d, err := time.ParseDuration(s)
	return float64(d), err == nil
}

// Matches reports whether an event passes the filter.
func (f Filter) Matches(g Gadget, e *Event) bool {
	for _, field := range g.Fields() {
		if field.Name == f.field {
			return f.matches(field.value(e))
		}
	}
	return true
}

func (f Filter) matches(v reflect.Value) bool {
	text := fmt.Sprint(v.Interface())
	number, isNumber := asNumber(v)
	switch f.op {
	case "~":
		return f.pattern.MatchString(text)
	case ">":
		return isNumber && number > f.number
	case "<":
		return isNumber && number < f.number
	}
	same := text == f.value || isNumber && f.numeric && number == f.number
	return same == (f.op == "=")
}

// asNumber returns the value of a numeric field.
func asNumber(v reflect.Value) (float64, bool) {
	switch {
	case v.CanInt():
		return float64(v.Int()), true
	case v.CanUint():
		return float64(v.Uint()), true
	}
	return 0, false
}

// Filters are filters that an event must pass all.
type Filters []Filter

// ParseFilters parses filters for events of some gadgets.
func ParseFilters(texts []string, gadgets []Gadget) (Filters, error) {
	var out Filters
	for _, text := range texts {
		f, err := ParseFilter(text, gadgets)
		if err != nil {
			return nil, err
		}
		out = append(out, f)
	}
	return out, nil
}

// Match reports whether an event passes all filters.
func (fs Filters) Match(g Gadget, e *Event) bool {
	for _, f := range fs {
		if !f.Matches(g, e) {
			return false
		}
	}
	return true
}

// String returns the filters in one line.
func (fs Filters) String() string {
	var texts []string
	for _, f := range fs {
		texts = append(texts, f.text)
	}
	return strings.Join(texts, " ")
}
