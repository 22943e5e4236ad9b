package route

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"

	routev1 "github.com/openshift/api/route/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// Endpoint is one HAProxy server: a ready address on a port that the Route uses.
type Endpoint struct {
	Service  string
	Pod      string // "" if the address is not that of a pod
	PortName string
	IP       string
	Port     int32
}

// Endpoints returns the servers that the router creates for a Service's EndpointSlices: the ready
// addresses on the port with the name or number in spec.port, or on every port if the Route has no
// spec.port. The router ignores loopback and link-local addresses.
func Endpoints(r *routev1.Route, service string, slices []discoveryv1.EndpointSlice) []Endpoint {
	var out []Endpoint
	seen := map[Endpoint]bool{}
	for _, slice := range slices {
		if slice.Labels[discoveryv1.LabelServiceName] != service {
			continue
		}
		for _, port := range slice.Ports {
			if port.Port == nil || isUDP(port) || !UsesPort(r, portName(port), *port.Port) {
				continue
			}
			for _, e := range readyEndpoints(slice) {
				for _, address := range e.Addresses {
					endpoint := Endpoint{Service: service, PortName: portName(port), IP: address, Port: *port.Port}
					if e.TargetRef != nil && e.TargetRef.Kind == "Pod" {
						endpoint.Pod = e.TargetRef.Name
					}
					if isRoutable(address) && !seen[endpoint] {
						seen[endpoint] = true
						out = append(out, endpoint)
					}
				}
			}
		}
	}
	return out
}

// PodsOf counts the pods that endpoints belong to. A pod can be several endpoints: one for each port of the Route
// and each address. An endpoint without a pod counts as one.
func PodsOf(endpoints []Endpoint) int {
	pods := map[string]bool{}
	for _, e := range endpoints {
		pods[cmp.Or(e.Pod, e.IP)] = true
	}
	return len(pods)
}

// UsesPort reports whether the Route sends traffic to the endpoint port with a name and number.
func UsesPort(r *routev1.Route, name string, number int32) bool {
	if r.Spec.Port == nil {
		return true
	}
	target := r.Spec.Port.TargetPort.String()
	return target == name || target == strconv.Itoa(int(number))
}

func portName(p discoveryv1.EndpointPort) string {
	if p.Name == nil {
		return ""
	}
	return *p.Name
}

// isUDP reports whether a port is one of UDP, which the router leaves out (plugin.go).
func isUDP(p discoveryv1.EndpointPort) bool {
	return p.Protocol != nil && *p.Protocol == corev1.ProtocolUDP
}

// readyEndpoints: an endpoint without the condition counts as ready (discovery/v1).
func readyEndpoints(slice discoveryv1.EndpointSlice) []discoveryv1.Endpoint {
	var out []discoveryv1.Endpoint
	for _, e := range slice.Endpoints {
		if e.Conditions.Ready == nil || *e.Conditions.Ready {
			out = append(out, e)
		}
	}
	return out
}

func isRoutable(address string) bool {
	ip, err := netip.ParseAddr(address)
	return err == nil && !ip.IsLoopback() && !ip.IsLinkLocalUnicast()
}

// Sticky reports whether the router gives the Route's clients a cookie that keeps them on their
// backend: not for passthrough Routes, and not if the annotation disables it.
func Sticky(r *routev1.Route) bool {
	return !Passthrough(r) && !isTrue(r.Annotations["haproxy.router.openshift.io/disable_cookies"])
}

// isTrue parses an annotation as the router does.
func isTrue(s string) bool {
	on, err := strconv.ParseBool(s)
	return err == nil && on
}

// Passthrough reports whether the router forwards TLS connections without decrypting them.
func Passthrough(r *routev1.Route) bool {
	return r.Spec.TLS != nil && r.Spec.TLS.Termination == routev1.TLSTerminationPassthrough
}

// Balance returns the balance algorithm in the Route's annotation, "" for the router's default.
func Balance(r *routev1.Route) string { return r.Annotations["haproxy.router.openshift.io/balance"] }

// Hosts returns the host names of a Route: that of its spec, and without one those that routers gave it, one
// for each domain, which is what spec.subdomain is for. Those of the router with the canonical host name router
// come first.
func Hosts(r *routev1.Route, router string) (hosts []string) {
	if r.Spec.Host != "" {
		return []string{r.Spec.Host}
	}
	for _, i := range r.Status.Ingress {
		switch {
		case i.Host == "" || !isAdmitted(i) || slices.Contains(hosts, i.Host):
		case router != "" && i.RouterCanonicalHostname == router:
			hosts = slices.Insert(hosts, 0, i.Host)
		default:
			hosts = append(hosts, i.Host)
		}
	}
	return hosts
}

// Admitted returns the names of the routers that admitted the Route and serve it.
func Admitted(r *routev1.Route) (routers []string) {
	for _, i := range r.Status.Ingress {
		if isAdmitted(i) {
			routers = append(routers, i.RouterName)
		}
	}
	return routers
}

// isAdmitted reports whether a router admitted the Route.
func isAdmitted(i routev1.RouteIngress) bool {
	return slices.ContainsFunc(i.Conditions, func(c routev1.RouteIngressCondition) bool {
		return c.Type == routev1.RouteAdmitted && c.Status == "True"
	})
}
