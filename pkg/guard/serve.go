package guard

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"

	"github.com/osc-debug/osc-debug/pkg/guard/lead"
	"github.com/osc-debug/osc-debug/pkg/guard/standby"
	"github.com/osc-debug/osc-debug/pkg/kube"
	"github.com/osc-debug/osc-debug/pkg/session/record"
	"github.com/osc-debug/osc-debug/pkg/session/store"
	"github.com/osc-debug/osc-debug/pkg/settings"
)

// Options configure a guard process.
type Options struct {
	Config *rest.Config
	Home   string        // namespace of its settings, its status and its Lease
	Name   string        // name of this replica in the Lease
	Listen string        // address to serve /metrics, /healthz and /readyz on
	Relist time.Duration // how often to list all watched objects again
	Log    *slog.Logger
}

// Rate limits of the clients: requests per second, and bursts. Restoring takes three requests per
// session. A thousand sessions that end within a minute need 50 requests per second, which one API
// server can answer besides its other work; 100 leaves room for conflicts. Deleting may take longer
// and gets less.
const (
	urgentQPS, urgentBurst   = 100, 200
	cleanupQPS, cleanupBurst = 40, 80
	leaseQPS, leaseBurst     = 2, 10 // a client of its own: thousands of lists of a guard that starts must not delay it
)

// Serve runs a replica of the guard until ctx ends. It watches, and it acts while it holds the Lease.
// When settings or permissions change, it starts again with a new Guard. It returns an error if it
// cannot make the clients or serve HTTP.
func Serve(ctx context.Context, o Options) error {
	clock, outage, metrics := &kube.Clock{}, &kube.Outage{}, NewMetrics()
	urgent, err := newStore(o.Config, clock, outage, urgentQPS, urgentBurst)
	if err != nil {
		return err
	}
	cleanup, err := newStore(o.Config, clock, outage, cleanupQPS, cleanupBurst)
	if err != nil {
		return err
	}
	lease, err := newStore(o.Config, clock, outage, leaseQPS, leaseBurst)
	if err != nil {
		return err
	}
	var current atomic.Pointer[Guard]
	metrics.CountSessions(current.Load)
	watchdog := leaderelection.NewLeaderHealthzAdaptor(lead.LeaseDuration)
	server := &http.Server{Addr: o.Listen, Handler: newHandler(metrics, watchdog, current.Load), ReadHeaderTimeout: 5 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.ListenAndServe() }()
	defer server.Close()
	campaign := lead.New(&resourcelock.LeaseLock{
		LeaseMeta:  metav1.ObjectMeta{Namespace: o.Home, Name: settings.LeaseName},
		Client:     lease.Core.CoordinationV1(),
		LockConfig: resourcelock.ResourceLockConfig{Identity: o.Name},
	}, watchdog, o.Log)
	defer campaign.Stop()
	rights, pool := &rightsCache{}, newPool(ctx)
	defer pool.clear()
	var previous *Guard
	for ctx.Err() == nil {
		g := &Guard{Home: o.Home, Relist: o.Relist, Urgent: urgent, Cleanup: cleanup, Clock: clock, Log: o.Log, Metrics: metrics,
			rights: rights, pool: pool}
		g.urgent, g.cleanup = newQueue(g.isMatched), newQueue(g.isMatched)
		if previous != nil {
			g.lastSettings, g.memory, g.term = previous.lastSettings, previous.memory, previous.term
		}
		previous = g
		current.Store(g)
		err := g.run(ctx, campaign)
		switch {
		case errors.Is(err, errRestart):
			o.Log.Info("settings or permissions changed; restarting")
			continue
		case err != nil && ctx.Err() == nil:
			o.Log.Error("restarting after an error", "error", err)
		}
		campaign.Stop()
		pool.clear()
		select {
		case <-ctx.Done():
		case err := <-failed:
			return fmt.Errorf("serve %s: %w", o.Listen, err)
		case <-time.After(lead.RetryPeriod):
		}
	}
	return nil
}

// newStore makes a store with clients of its own rate limit: qps requests per second.
func newStore(config *rest.Config, clock *kube.Clock, outage *kube.Outage, qps float32, burst int) (store.Store, error) {
	c := kube.Wrap(kube.WithSmallBuffers(config), clock, outage)
	c.QPS, c.Burst, c.UserAgent = qps, burst, "osc-guard"
	core, routes, err := kube.Clients(c)
	return store.Store{Core: core, Routes: routes, Once: true, Outage: outage}, err
}

// newHandler serves /metrics, /healthz and /readyz. A replica is healthy unless it leads and has not
// renewed its Lease for too long. It is ready when its caches have synced.
func newHandler(m *Metrics, watchdog *leaderelection.HealthzAdaptor, current func() *Guard) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.Registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) {
		if err := watchdog.Check(r); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if g := current(); g == nil || !g.Ready() {
			http.Error(w, "caches have not synced", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	return mux
}

// syncTimeout bounds how long the caches of a replica that may hold the Lease may take to sync after a
// restart. After that the replica leaves the sessions to another one.
const syncTimeout = time.Minute

// run runs the Guard until its settings or permissions change, the Lease is lost or processCtx ends, and
// returns the cause. All goroutines that it started have ended when it returns. The Lease is kept until
// the campaign is stopped.
func (g *Guard) run(processCtx context.Context, campaign *lead.Campaign) error {
	ctx, cancel := context.WithCancelCause(processCtx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel(nil)
	defer g.shutDownQueues()
	if campaign.Running() {
		timer := time.AfterFunc(syncTimeout, func() {
			if !g.Ready() {
				cancel(fmt.Errorf("caches have not synced within %s", syncTimeout))
			}
		})
		defer timer.Stop()
	}
	configured, err := g.readSettings(ctx)
	if err != nil {
		return err
	}
	g.Settings = configured
	allowed, missing, err := g.splitByRights(ctx, g.Settings.Namespaces)
	if err != nil {
		return err
	}
	if g.leaving, err = g.removedNamespaces(ctx, configured.Namespaces); err != nil {
		return err
	}
	g.Settings.Namespaces = allowed
	if g.Settings.Drain < g.Settings.ReloadInterval {
		g.Log.Warn("setting drain is shorter than reloadInterval: a sandbox may be deleted while routers still send traffic to it")
	}
	if g.SeesNodes, err = canSeeNodes(ctx, g.Urgent.Core); err != nil {
		return err
	}
	running.Go(func() { cancel(g.waitForSettings(ctx, configured)) })
	if len(missing) > 0 || !g.SeesNodes {
		running.Go(func() { cancel(g.waitForRights(ctx, missing)) })
	}
	g.restart = cancel
	if err := g.Watch(ctx, running.Go); err != nil {
		return err
	}
	campaign.Start()
	if term := campaign.WaitForTerm(ctx); term != nil {
		if term != g.term {
			g.memory.forgetAll() // another replica may have led since, so the recorded times are no longer valid
		}
		g.term = term
		defer context.AfterFunc(term, func() { cancel(lead.ErrLost) })()
		g.lead(ctx)
	}
	return context.Cause(ctx)
}

// lead publishes the status and acts until ctx ends, at the latest when the Lease is lost.
func (g *Guard) lead(ctx context.Context) {
	g.Metrics.SetLeader(true)
	defer g.Metrics.SetLeader(false)
	var publishing sync.WaitGroup
	defer publishing.Wait()
	publishing.Go(func() {
		g.publish(ctx, g.leaving)
		g.dropEmptyNamespaces(ctx)
	})
	g.Act(ctx)
}

// publish writes the guard's status and retries until that succeeds or ctx ends.
func (g *Guard) publish(ctx context.Context, leaving []string) {
	status := standby.Status{Journal: record.JournalVersion, Shape: record.PodShape, Namespaces: g.Settings.Namespaces, Leaving: leaving, Nodes: g.SeesNodes, Reloads: true}
	for ctx.Err() == nil {
		err := writeStatus(ctx, g.Urgent.Core, g.Home, status)
		if err == nil {
			return
		}
		g.Log.Error("cannot publish status, retrying; new sessions may not find this guard", "error", err)
		_ = kube.Sleep(ctx, lead.RetryPeriod) // the loop ends with ctx
	}
}

// Hostname returns the default name of a replica: the host name, which in a pod is the pod's name.
func Hostname() string {
	name, err := os.Hostname()
	if err != nil {
		return fmt.Sprintf("guard-%d", os.Getpid())
	}
	return name
}
