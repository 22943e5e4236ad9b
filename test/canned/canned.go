// Package canned serves fixed answers of an API server, for unit tests of what is read from it.
package canned

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	"k8s.io/client-go/rest"
)

// Answers are what an API server answers, by method and path ("GET /version"): an object, or a status
// code. It answers everything else with 404.
type Answers map[string]any

// Serve starts an API server that gives these answers until the test ends, and returns how to reach it.
func (a Answers) Serve(t *testing.T) *rest.Config {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch answer := a[r.Method+" "+r.URL.Path].(type) {
		case nil:
			http.NotFound(w, r)
		case int:
			http.Error(w, http.StatusText(answer), answer)
		default:
			w.Header().Set("Content-Type", "application/json")
			if err := json.NewEncoder(w).Encode(answer); err != nil {
				t.Error(err)
			}
		}
	}))
	t.Cleanup(server.Close)
	return &rest.Config{Host: server.URL, QPS: -1}
}
