package router

import (
	"crypto/md5"
	"fmt"
	"net/netip"
	"regexp"
	"sort"
	"strconv"

	routev1 "github.com/openshift/api/route/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// backend is a Route with its servers, as it is written into HAProxy's configuration.
type backend struct {
	route    *routev1.Route
	services []service
}

// slicesOf returns the EndpointSlices of a Service.
type slicesOf func(namespace, service string) []*discoveryv1.EndpointSlice

// newBackend resolves a Route's Services to servers. A Service that is named twice counts once, with
// its last weight.
func newBackend(route *routev1.Route, slices slicesOf) backend {
	weights := map[string]int32{}
	var order []string
	for _, ref := range append([]routev1.RouteTargetReference{route.Spec.To}, route.Spec.AlternateBackends...) {
		w := int32(1)
		if ref.Weight != nil {
			w = min(max(*ref.Weight, 0), maxWeight)
		}
		if _, ok := weights[ref.Name]; !ok {
			order = append(order, ref.Name)
		}
		weights[ref.Name] = w
	}
	b := backend{route: route}
	for _, name := range order {
		b.services = append(b.services, service{
			name: name, weight: weights[name],
			servers: servers(name, preferredPort(route), slices(route.Namespace, name)),
		})
	}
	return b
}

// preferredPort returns the name or number of the Route's target port, "" if it has none.
func preferredPort(route *routev1.Route) string {
	if route.Spec.Port == nil {
		return ""
	}
	return route.Spec.Port.TargetPort.String()
}

// servers returns the ready endpoints of a Service whose port has the given name or number, or of all
// ports if port is "". It drops ports of UDP, and loopback and link-local addresses.
func servers(name, port string, slices []*discoveryv1.EndpointSlice) []server {
	var out []server
	seen := map[string]bool{}
	for _, slice := range slices {
		for _, p := range slice.Ports {
			if p.Port == nil || p.Protocol != nil && *p.Protocol == corev1.ProtocolUDP || port != "" && port != *p.Name && port != strconv.Itoa(int(*p.Port)) {
				continue
			}
			for _, e := range slice.Endpoints {
				if e.Conditions.Ready != nil && !*e.Conditions.Ready {
					continue
				}
				for _, address := range e.Addresses {
					ip, err := netip.ParseAddr(address)
					if err != nil || ip.IsLoopback() || ip.IsLinkLocalUnicast() {
						continue
					}
					id := fmt.Sprintf("ept:%s:%s:%s:%d", name, *p.Name, address, *p.Port)
					if e.TargetRef != nil && e.TargetRef.Kind == "Pod" {
						id = fmt.Sprintf("pod:%s:%s:%s:%s:%d", e.TargetRef.Name, name, *p.Name, address, *p.Port)
					}
					if !seen[id] {
						seen[id] = true
						out = append(out, server{id: id, ip: address, port: *p.Port, cookie: fmt.Sprintf("%x", md5.Sum([]byte(id)))})
					}
				}
			}
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].id < out[j].id })
	return out
}

// active counts the Services with a weight above zero, and their servers.
func (b backend) active() (services, servers int) {
	for _, s := range b.services {
		if s.weight > 0 {
			services++
			servers += len(s.servers)
		}
	}
	return services, servers
}

// servedServices returns the Services whose servers are in HAProxy's configuration: for a passthrough Route, those
// with a weight.
func (b backend) servedServices() (out []service) {
	for _, s := range b.services {
		if s.weight > 0 || prefix(b.route) != "be_tcp:" {
			out = append(out, s)
		}
	}
	return out
}

// key returns NAMESPACE:NAME, the name of the Route's backend in HAProxy without its prefix.
func (b backend) key() string { return b.route.Namespace + ":" + b.route.Name }

// validCookieName is what the real router's template accepts as the annotation's value.
var validCookieName = regexp.MustCompile(`\A[a-zA-Z0-9_-]+\z`)

// cookieName returns the name of the Route's cookie as the real router chooses it: the MD5 of a blank
// and the Route's key, whatever the Route's termination. An annotation overrides it.
func (b backend) cookieName() string {
	if name := b.route.Annotations["router.openshift.io/cookie_name"]; validCookieName.MatchString(name) {
		return name
	}
	return b.hash()
}

// hash returns the default name of the Route's cookie, which is also the key of dynamic cookies.
func (b backend) hash() string { return fmt.Sprintf("%x", md5.Sum([]byte(" "+b.key()))) }
