package gadget

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"
)

// Events are encoded here instead of by encoding/json, because a program that is traced waits for its tracer when both
// want the same CPU. The output is the same: the fields' tags decide, and whatever is not handled here is passed on to
// encoding/json.

// jsonAppender is a type that appends itself as JSON.
type jsonAppender interface {
	appendJSON(to []byte) []byte
}

// encodedField is a field of a struct, as it is encoded.
type encodedField struct {
	index     int
	key       string // `"name":`
	omitEmpty bool
	appends   bool // it is a jsonAppender
}

// encodings has the encoded fields of each payload's type, []encodedField by reflect.Type.
var encodings sync.Map

// encodingOf returns how a struct type is encoded.
func encodingOf(of reflect.Type) []encodedField {
	if known, ok := encodings.Load(of); ok {
		return known.([]encodedField)
	}
	var fields []encodedField
	for i := range of.NumField() {
		name, options, _ := strings.Cut(of.Field(i).Tag.Get("json"), ",")
		if name == "" || name == "-" {
			continue
		}
		fields = append(fields, encodedField{i, strconv.Quote(name) + ":", options == "omitempty", of.Field(i).Type.Implements(reflect.TypeFor[jsonAppender]())})
	}
	encodings.Store(of, fields)
	return fields
}

// appendPayload appends a payload, which is a pointer to a struct, as a JSON object.
func appendPayload(to []byte, p Payload) ([]byte, error) {
	v := reflect.ValueOf(p).Elem()
	to = append(to, '{')
	first := true
	for _, f := range encodingOf(v.Type()) {
		field := v.Field(f.index)
		if f.omitEmpty && isEmpty(field) {
			continue
		}
		if !first {
			to = append(to, ',')
		}
		first = false
		to = append(to, f.key...)
		if f.appends {
			to = field.Interface().(jsonAppender).appendJSON(to)
			continue
		}
		var err error
		if to, err = appendValue(to, field); err != nil {
			return nil, err
		}
	}
	return append(to, '}'), nil
}

// isEmpty says whether encoding/json omits a field with the option omitempty.
func isEmpty(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Slice, reflect.Map, reflect.String:
		return v.Len() == 0
	case reflect.Struct:
		return false
	default:
		return v.IsZero()
	}
}

// appendValue appends a field's value.
func appendValue(to []byte, v reflect.Value) ([]byte, error) {
	if v.Type().PkgPath() != "" && v.Type() != reflect.TypeFor[time.Duration]() { // a type that may encode itself
		return appendOther(to, v)
	}
	switch v.Kind() {
	case reflect.String:
		return appendString(to, v.String()), nil
	case reflect.Int32, reflect.Int64:
		return strconv.AppendInt(to, v.Int(), 10), nil
	case reflect.Uint32, reflect.Uint64:
		return strconv.AppendUint(to, v.Uint(), 10), nil
	case reflect.Bool:
		return strconv.AppendBool(to, v.Bool()), nil
	default:
		return appendOther(to, v)
	}
}

func appendOther(to []byte, v reflect.Value) ([]byte, error) {
	if list, ok := v.Interface().([]string); ok && list != nil {
		to = append(to, '[')
		for i, s := range list {
			if i > 0 {
				to = append(to, ',')
			}
			to = appendString(to, s)
		}
		return append(to, ']'), nil
	}
	text, err := json.Marshal(v.Interface())
	return append(to, text...), err
}

// appendString appends a string as JSON.
func appendString(to []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= utf8.RuneSelf || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			text, _ := json.Marshal(s) // a string has no error
			return append(to, text...)
		}
	}
	return append(append(append(to, '"'), s...), '"')
}

// second is a second of UTC in RFC 3339.
type second struct {
	unix int64
	text string // up to the fraction
}

// lastSecond is the second that was formatted last: events come in the order of their times.
var lastSecond atomic.Pointer[second]

// appendTime appends a time as JSON, as time.Time encodes itself.
func appendTime(to []byte, t time.Time) ([]byte, error) {
	if y := t.Year(); t.Location() != time.UTC || y < 1000 || y > 9999 {
		text, err := t.MarshalJSON()
		return append(to, text...), err
	}
	s := lastSecond.Load()
	if s == nil || s.unix != t.Unix() {
		s = &second{t.Unix(), t.Format(`"2006-01-02T15:04:05`)}
		lastSecond.Store(s)
	}
	to = append(to, s.text...)
	if n := t.Nanosecond(); n > 0 {
		to = append(to, '.')
		for digit := 100_000_000; n > 0; digit /= 10 {
			to = append(to, byte('0'+n/digit))
			n %= digit
		}
	}
	return append(to, 'Z', '"'), nil
}

// MarshalJSON implements json.Marshaler: the payload's key is the gadget's name.
func (e *Event) MarshalJSON() ([]byte, error) { return e.AppendJSON(nil, "") }

// AppendJSON appends the event as a JSON object. head is JSON to put before the event's fields, "" or entries of an
// object with a comma at the end.
func (e *Event) AppendJSON(to []byte, head string) (_ []byte, err error) {
	to = append(append(append(to, '{'), head...), `"time":`...)
	if to, err = appendTime(to, e.Time); err != nil {
		return nil, fmt.Errorf("encode the time: %w", err)
	}
	to = strconv.AppendUint(append(to, `,"pid":`...), uint64(e.PID), 10)
	to = strconv.AppendUint(append(to, `,"tid":`...), uint64(e.TID), 10)
	to = appendString(append(to, `,"comm":`...), e.Comm)
	to = append(append(append(to, `,"`...), e.Gadget...), `":`...)
	if to, err = appendPayload(to, e.Payload); err != nil {
		return nil, err
	}
	return append(to, '}'), nil
}
