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
