package cli

import (
	"bytes"
	"encoding/json"

	"sigs.k8s.io/yaml"

	"github.com/osc-debug/osc-debug/pkg/terminal"
)

// marshalYAML is yaml.Marshal for values that others wrote. That function reads its own JSON as YAML, and
// fails at control characters that JSON allows.
func marshalYAML(v any) ([]byte, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var escaped bytes.Buffer
	if _, err := terminal.NewJSONWriter(&escaped).Write(data); err != nil {
		return nil, err
	}
	return yaml.JSONToYAML(escaped.Bytes())
}
