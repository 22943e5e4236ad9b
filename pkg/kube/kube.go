// Package kube makes clients for the API server that bound each request in time, retry idempotent
// requests, and estimate the server's clock from its responses.
package kube

import (
	"net/http"

	routeclient "github.com/openshift/client-go/route/clientset/versioned"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// Wrap returns a copy of config whose clients bound and retry requests. All of them feed clock and
// outage, which must not be nil.
func Wrap(config *rest.Config, clock *Clock, outage *Outage) *rest.Config {
	c := rest.CopyConfig(config)
	c.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return retrying{outageTransport{outage, &clockTransport{clock, bounded{next: next, timeout: requestTimeout}}}}
	})
	return c
}

// Clients returns a client for Kubernetes' own kinds and one for Routes. The first uses protobuf,
// which takes less time and memory on both sides. Not every API server offers protobuf for Routes.
func Clients(config *rest.Config) (kubernetes.Interface, routeclient.Interface, error) {
	protobuf := rest.CopyConfig(config)
	protobuf.ContentType, protobuf.AcceptContentTypes = runtime.ContentTypeProtobuf, runtime.ContentTypeProtobuf+","+runtime.ContentTypeJSON
	core, err := kubernetes.NewForConfig(protobuf)
	if err != nil {
		return nil, nil, err
	}
	routes, err := routeclient.NewForConfig(config)
	return core, routes, err
}
