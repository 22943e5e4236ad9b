package gadget

import (
	"encoding/json"
	"fmt"
	"time"
)

// Event is something that the traced program did. PIDs are those inside the sandbox.
type Event struct {
	Gadget  string // name
	Time    time.Time
	PID     uint32
	TID     uint32
	Comm    string // name of the thread
	Payload Payload
}

// common are the fields that all events have, as in JSON.
type common struct {
	Time time.Time `json:"time" help:"when it happened, by the sandbox's clock"`
	PID  uint32    `json:"pid" help:"process, as the sandbox numbers it"`
	TID  uint32    `json:"tid" help:"thread, as the sandbox numbers it"`
	Comm string    `json:"comm" help:"name of the thread"`
}

// MarshalJSON implements json.Marshaler: the payload's key is the gadget's name.
func (e *Event) MarshalJSON() ([]byte, error) { return e.AppendJSON(nil, "") }

// AppendJSON appends the event as a JSON object. head is JSON to put before the event's fields, "" or entries of an
// object with a comma at the end.
func (e *Event) AppendJSON(to []byte, head string) ([]byte, error) {
	fields, err := json.Marshal(common{e.Time, e.PID, e.TID, e.Comm})
	if err != nil {
		return nil, err
	}
	payload, err := json.Marshal(e.Payload)
	if err != nil {
		return nil, err
	}
	to = append(append(append(to, '{'), head...), fields[1:len(fields)-1]...)
	to = fmt.Appendf(to, ",%q:", e.Gadget)
	return append(append(to, payload...), '}'), nil
}

// DecodeEvent parses an event of a gadget, as MarshalJSON writes it.
func DecodeEvent(gadget string, data []byte) (*Event, error) {
	g, ok := find(gadget)
	if !ok {
		return nil, fmt.Errorf("unknown gadget %.40q", gadget)
	}
	var fields common
	if err := json.Unmarshal(data, &fields); err != nil {
		return nil, err
	}
	var payloads map[string]json.RawMessage
	if err := json.Unmarshal(data, &payloads); err != nil {
		return nil, err
	}
	e := &Event{Gadget: gadget, Time: fields.Time, PID: fields.PID, TID: fields.TID, Comm: fields.Comm, Payload: g.New()}
	if raw, ok := payloads[gadget]; ok {
		if err := json.Unmarshal(raw, e.Payload); err != nil {
			return nil, err
		}
	}
	return e, nil
}
