package kube

import (
	"net/http"

	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/rest"
)

// streamBuffer is how much of a response waits in memory until it is read, in bytes. Go's default is 4 MiB. A program
// that watches many resources would need that much for each while it lists large objects.
const streamBuffer = 256 << 10

// WithSmallBuffers returns a copy of config whose clients buffer little of each response. It must be called before
// other wrappers are added.
func WithSmallBuffers(config *rest.Config) *rest.Config {
	c := rest.CopyConfig(config)
	c.Wrap(func(next http.RoundTripper) http.RoundTripper {
		inner := next
		for {
			wrapper, ok := inner.(utilnet.RoundTripperWrapper)
			if !ok {
				break
			}
			inner = wrapper.WrappedRoundTripper()
		}
		if t, ok := inner.(*http.Transport); ok && t.HTTP2 == nil {
			t.HTTP2 = &http.HTTP2Config{MaxReceiveBufferPerStream: streamBuffer}
		}
		return next
	})
	return c
}
