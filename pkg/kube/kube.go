// Package kube is how we talk to the API server: each request bounded in time, what may be
// done twice tried again, and the server's clock learned from its answers.
package kube

import (
	"net/http"

	routeclient "github.com/openshift/client-go/route/clientset/versioned"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// Wrap returns a copy of a configuration whose clients keep to that. The clock and the outage
// learn from all of them.
func Wrap(config *rest.Config, clock *Clock, outage *Outage) *rest.Config {
	c := rest.CopyConfig(config)
	c.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return retrying{outageTransport{outage, &clockTransport{clock, bounded{next: next, within: requestTime}}}}
	})
	return c
}

// Clients are those of Kubernetes' own kinds, and of Routes. The former speak protobuf, which
// costs both sides less to read and leaves less behind; Routes have no such form everywhere.
func Clients(config *rest.Config) (kubernetes.Interface, routeclient.Interface, error) {
	binary := rest.CopyConfig(config)
	binary.ContentType, binary.AcceptContentTypes = runtime.ContentTypeProtobuf, runtime.ContentTypeProtobuf+","+runtime.ContentTypeJSON
	core, err := kubernetes.NewForConfig(binary)
	if err != nil {
		return nil, nil, err
	}
	routes, err := routeclient.NewForConfig(config)
	return core, routes, err
}
