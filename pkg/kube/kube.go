// Package kube is how we talk to the API server: each request bounded in time, what may be
// done twice tried again, and the server's clock learned from its answers.
package kube

import (
	"net/http"

	"k8s.io/client-go/rest"
)

// Wrap returns a copy of a configuration whose clients keep to that.
func Wrap(config *rest.Config, clock *Clock) *rest.Config {
	c := rest.CopyConfig(config)
	c.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return retrying{&clockTransport{clock, bounded{next}}}
	})
	return c
}
