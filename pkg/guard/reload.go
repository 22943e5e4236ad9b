package guard

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	routev1 "github.com/openshift/api/route/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/client-go/tools/cache"

	"github.com/osc-debug/osc-debug/pkg/guard/judge"
	"github.com/osc-debug/osc-debug/pkg/session/record"
)

// How many Routes the guard follows the endpoints of, in all and in a namespace. Users write the journals that ask
// for that.
const (
	maxFollowed            = 50
	maxFollowedInNamespace = 10
)

// maxSlices is how many EndpointSlices of a Route's backends are looked at.
const maxSlices = 100

// Limits of touches of all Routes together: each makes the routers reload, which they do for all Routes at once.
const (
	touchesPerSecond = 1
	touchBurst       = 5
	touchPause       = time.Second // before a touch over the limit is tried again
)

// endpoints follows the endpoints of a Route's backends: those of the original do not have the session's label.
type endpoints struct {
	services []string
	slices   cache.SharedInformer
	stop     context.CancelFunc
}

// followed has the endpoints of the sessions that routers with the dynamic configuration manager serve. The zero
// value is ready for use.
type followed struct {
	mu  sync.Mutex
	all map[key]*endpoints
}

// mayDrift reports whether the share of a session can drift: it is live and whole, its sandbox serves, and a router
// has the dynamic configuration manager.
func mayDrift(r *routev1.Route, f judge.Facts) bool {
	s := f.Session
	return r != nil && s != nil && s.Journal != nil && s.State == record.Live && s.Journal.Dynamic && s.Backend &&
		f.Label && f.SameUID && f.Ready > 0 && len(record.WeightedServices(r)) > 1
}

// keepShare makes routers with the dynamic configuration manager reload when the servers of a live session's
// backends have changed. Without that, new servers get new weights and the others keep theirs, so the share drifts. It
// returns how long to wait before checking again, 0 for until the next change. A failed touch is reported, and not
// retried like a failed ending: no user's traffic is lost by it.
func (g *Guard) keepShare(ctx context.Context, k key, m *memory, r *routev1.Route, f judge.Facts) time.Duration {
	if !mayDrift(r, f) {
		g.followed.stop(k)
		return 0
	}
	services := record.WeightedServices(r)
	of := g.follow(k, services)
	if of == nil {
		return time.Minute // until there is room
	}
	if !of.slices.HasSynced() {
		return 0 // follow queues the session again
	}
	list := of.slices.GetStore().List()
	if len(list) > maxSlices {
		return 0
	}
	var all []discoveryv1.EndpointSlice
	for _, o := range list {
		all = append(all, *o.(*discoveryv1.EndpointSlice))
	}
	now, servers := g.Clock.Now(), record.Servers(r, services, all)
	due, wait := m.reloads.Due(f.Session.Journal, servers, now)
	if !due {
		return wait
	}
	if err := g.touch(ctx, k, servers, now); err != nil {
		if errors.Is(err, errTooManyTouches) {
			return touchPause
		}
		g.Metrics.failedTouches.Inc()
		g.Log.Warn("cannot make routers reload; the share may drift", "session", k.String(), "error", err)
		return record.TouchInterval
	}
	m.reloads.Touched()
	g.Metrics.touches.Inc()
	g.Log.Info("servers changed: made routers reload", "session", k.String())
	return 0
}

// errTooManyTouches is the error of a touch that would be one too many for all Routes together.
var errTooManyTouches = errors.New("too many touches")

// touch writes the journal of a Route again.
func (g *Guard) touch(ctx context.Context, k key, servers string, now time.Time) error {
	live, err := g.Urgent.Routes.RouteV1().Routes(k.namespace).Get(ctx, k.route, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("read route %s/%s: %w", k.namespace, k.route, err)
	}
	if !g.touches.Allow() {
		return errTooManyTouches
	}
	_, err = g.Urgent.Touch(ctx, live, k.id, servers, now)
	return err
}

// follow returns the endpoints of Services, and begins to follow them. It returns nil if it follows too many
// Routes.
func (g *Guard) follow(k key, services []string) *endpoints {
	services = slices.Sorted(slices.Values(services))
	f := &g.followed
	f.mu.Lock()
	defer f.mu.Unlock()
	if e := f.all[k]; e != nil {
		if slices.Equal(e.services, services) {
			return e
		}
		e.stop()
		delete(f.all, k)
	}
	if !f.hasRoom(k.namespace) {
		g.Log.Info("follows the servers of too many Routes; the share may drift", "session", k.String())
		return nil
	}
	wanted, err := labels.NewRequirement(discoveryv1.LabelServiceName, selection.In, services)
	if err != nil {
		return nil // not names of Services
	}
	selected := func(o *metav1.ListOptions) { o.LabelSelector = wanted.String() }
	source := cache.NewFilteredListWatchFromClient(g.Urgent.Core.DiscoveryV1().RESTClient(), "endpointslices", k.namespace, selected)
	source.ListWithContextFunc = g.pool.pages.paged(source.ListWithContextFunc, keepServers)
	i := cache.NewSharedInformer(source, &discoveryv1.EndpointSlice{}, 0)
	check := func() { g.enqueue(k, true) }
	_, err = i.AddEventHandler(cache.ResourceEventHandlerDetailedFuncs{
		AddFunc: func(any, bool) { check() }, UpdateFunc: func(any, any) { check() }, DeleteFunc: func(any) { check() },
	})
	if err == nil {
		err = i.SetTransform(keepServers)
	}
	if err != nil {
		g.Log.Error("cannot follow the servers of a Route; its share may drift", "session", k.String(), "error", err)
		return nil
	}
	ctx, stop := context.WithCancel(g.following)
	g.spawn(func() { i.RunWithContext(ctx) })
	g.spawn(func() {
		if cache.WaitForCacheSync(ctx.Done(), i.HasSynced) {
			check() // the events of the first list may have come before
		}
	})
	if f.all == nil {
		f.all = map[key]*endpoints{}
	}
	f.all[k] = &endpoints{services: services, slices: i, stop: stop}
	return f.all[k]
}

// hasRoom reports whether one more Route of a namespace can be followed. The caller holds the lock.
func (f *followed) hasRoom(namespace string) bool {
	n := 0
	for k := range f.all {
		if k.namespace == namespace {
			n++
		}
	}
	return len(f.all) < maxFollowed && n < maxFollowedInNamespace
}

// stop stops following a session's endpoints.
func (f *followed) stop(k key) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if e := f.all[k]; e != nil {
		e.stop()
		delete(f.all, k)
	}
}

// keepServers keeps of an EndpointSlice what makes the router's servers.
func keepServers(o any) (any, error) {
	s, ok := o.(*discoveryv1.EndpointSlice)
	if !ok {
		return o, nil
	}
	kept := &discoveryv1.EndpointSlice{ObjectMeta: identity(&s.ObjectMeta), AddressType: s.AddressType, Ports: s.Ports}
	kept.Labels = keepKeys(s.Labels, map[string]int{discoveryv1.LabelServiceName: maxLabel})
	for _, e := range s.Endpoints {
		server := discoveryv1.Endpoint{Addresses: e.Addresses, Conditions: discoveryv1.EndpointConditions{Ready: e.Conditions.Ready}}
		if t := e.TargetRef; t != nil {
			server.TargetRef = &corev1.ObjectReference{Kind: t.Kind, Name: strings.Clone(t.Name)}
		}
		kept.Endpoints = append(kept.Endpoints, server)
	}
	return kept, nil
}
