package router

import (
	"encoding/json"
	"os"
	"testing"
)

// serverWeights agrees with 200 rows that the real router's weight function produced.
func TestServerWeightsAreTheRealRouters(t *testing.T) {
	data, err := os.ReadFile("../../testdata/router-weights.json")
	if err != nil {
		t.Fatal(err)
	}
	var rows []struct {
		Services []struct {
			Name           string
			Weight         *int32
			ReadyEndpoints int
		}
		EndpointWeights map[string]int32
	}
	if err := json.Unmarshal(data, &rows); err != nil {
		t.Fatal(err)
	}
	if len(rows) != 200 {
		t.Fatalf("%d rows, wanted 200", len(rows))
	}
	for i, row := range rows {
		var services []service
		for _, s := range row.Services {
			weight := int32(1)
			if s.Weight != nil {
				weight = *s.Weight
			}
			services = append(services, service{name: s.Name, weight: weight, servers: make([]server, s.ReadyEndpoints)})
		}
		got := serverWeights(services)
		if len(got) != len(row.EndpointWeights) {
			t.Errorf("row %d: %v, the real router has %v", i, got, row.EndpointWeights)
		}
		for name, w := range row.EndpointWeights {
			if got[name] != w {
				t.Errorf("row %d: %s has weight %d, the real router has %d", i, name, got[name], w)
			}
		}
	}
}
