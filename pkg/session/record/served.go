package record

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	routev1 "github.com/openshift/api/route/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osc-debug/osc-debug/pkg/route"
)

// TouchInterval is the least time between two touches of a Route.
const TouchInterval = 30 * time.Second

// ReloadTime is how long a router usually takes to serve a touched Route.
const ReloadTime = 6 * time.Second

// maxServers is how many servers are looked at. A Route with more is left to the router's next reload.
const maxServers = 10_000

// Servers returns a hash of the servers that a router has for Services of a Route: 12 hex digits. It differs
// also if one pod replaced another, because a router with the dynamic configuration manager computes the weight of
// each new server anew. It is "" if shares cannot drift, because there are fewer than two Services, and if there are too
// many servers.
func Servers(r *routev1.Route, services []string, all []discoveryv1.EndpointSlice) string {
	if len(services) < 2 || countServers(services, all) > maxServers {
		return ""
	}
	var lines []string
	for _, service := range services {
		for _, e := range route.Endpoints(r, service, all) {
			lines = append(lines, fmt.Sprintf("%s %s %s %d", service, e.Pod, e.IP, e.Port))
		}
	}
	slices.Sort(lines)
	sum := sha256.Sum256([]byte(strings.Join(lines, "\n")))
	return hex.EncodeToString(sum[:6])
}

// countServers returns how many servers the Services have at most.
func countServers(services []string, all []discoveryv1.EndpointSlice) (n int) {
	for _, s := range all {
		if !slices.Contains(services, s.Labels[discoveryv1.LabelServiceName]) {
			continue
		}
		for _, e := range s.Endpoints {
			n += len(e.Addresses) * len(s.Ports)
		}
	}
	return n
}

// WeightedServices returns the Services of a Route that have a weight above 0.
func WeightedServices(r *routev1.Route) (services []string) {
	for _, b := range WeightsOf(r).Backends {
		if weightValue(b.Weight) > 0 {
			services = append(services, b.Service)
		}
	}
	return services
}

// ServedNow reports whether routers split the traffic of a live session as its Route says: always if they reload
// when servers change. servers is the hash of those of the backends with a weight.
func (j *Journal) ServedNow(servers string, now time.Time) bool {
	return !j.Dynamic || j.State != Live || servers == "" || j.Served == servers && now.Sub(j.Touched.Time) > ReloadTime
}

// TouchedAlready is the error for a Route that was touched less than TouchInterval ago.
type TouchedAlready struct{ Namespace, Name string }

func (e *TouchedAlready) Error() string {
	return fmt.Sprintf("route %s/%s was touched less than %s ago", e.Namespace, e.Name, TouchInterval)
}

// TouchRoute writes which servers the Route's backends have, so that routers reload. It changes nothing if the
// session is not live, if no router needs that, or if someone else has just done it. If someone has just written other
// servers, the error is *TouchedAlready.
func TouchRoute(id, servers string, now time.Time) Change {
	return func(r *routev1.Route) error {
		s, err := runningSession(r, id)
		if err != nil {
			return err
		}
		if s.State != Live || !s.Journal.Dynamic {
			return nil
		}
		if now.Sub(s.Journal.Touched.Time) < TouchInterval {
			if s.Journal.Served == servers {
				return nil
			}
			return &TouchedAlready{r.Namespace, r.Name}
		}
		s.Journal.Served, s.Journal.Touched = servers, metav1.NewTime(now.Truncate(time.Second))
		return writeMarks(r, s.Journal)
	}
}

// Reloads decides when a live session's Route has to be touched. The zero value is ready for use.
type Reloads struct {
	seen           string    // servers as last seen
	served         string    // Served of the journal as last seen
	changed, first time.Time // when they last changed, and first changed since the last touch; zero: they did not
}

// Servers that change together are one change: the Route is touched once they have not changed for settle, or
// after longestSettle.
const (
	settle        = 2 * time.Second
	longestSettle = 10 * time.Second
)

// Due reports whether the Route of a live session has to be touched now, and otherwise how long to wait before asking
// again; 0: ask at the next change. servers is the hash of the servers of the backends with a weight.
func (d *Reloads) Due(j *Journal, servers string, now time.Time) (due bool, wait time.Duration) {
	if !j.Dynamic || j.State != Live || servers == "" {
		*d = Reloads{}
		return false, 0
	}
	written := d.served != j.Served // since the last look: every write makes routers reload
	d.served = j.Served
	if j.Served == servers && (written || j.Touched.After(d.changed)) {
		d.seen = servers
		d.Touched()
		return false, 0
	}
	if d.seen != servers {
		d.seen, d.changed = servers, now
		if d.first.IsZero() {
			d.first = now
		}
	}
	if d.first.IsZero() {
		return false, 0
	}
	when := d.changed.Add(settle)
	if last := d.first.Add(longestSettle); when.After(last) {
		when = last
	}
	if next := j.Touched.Add(TouchInterval); when.Before(next) {
		when = next
	}
	if wait = when.Sub(now); wait > 0 {
		return false, wait
	}
	return true, 0
}

// Touched notes that the Route was touched with the servers that were last seen.
func (d *Reloads) Touched() { d.changed, d.first = time.Time{}, time.Time{} }
