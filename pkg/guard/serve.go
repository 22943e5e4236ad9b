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

// Options are what a guard process is started with.
type Options struct {
	Config *rest.Config
	Home   string        // namespace of its settings, its status and its Lease
	Name   string        // of this replica, in the Lease
	Listen string        // address of /metrics, /healthz and /readyz
	Relist time.Duration // between lists of all that is watched
	Log    *slog.Logger
}

// Requests a second, and bursts. Restoring costs three requests: a thousand sessions
// that end in one minute need 50 a second, which one API server answers beside its
// work; 100 leaves room for conflicts. Deleting may take longer and gets less.
const (
	urgentQPS, urgentBurst   = 100, 200
	cleanupQPS, cleanupBurst = 40, 80
)

// Serve runs a replica until the context ends: watches, and acts while it holds the
// Lease. Changed settings begin it again from the start.
func Serve(ctx context.Context, o Options) error {
	clock, outage, metrics := &kube.Clock{}, &kube.Outage{}, NewMetrics()
	urgent, err := clients(o.Config, clock, outage, urgentQPS, urgentBurst)
	if err != nil {
		return err
	}
	cleanup, err := clients(o.Config, clock, outage, cleanupQPS, cleanupBurst)
	if err != nil {
		return err
	}
	var current atomic.Pointer[Guard] // the one of this life
	metrics.CountSessions(current.Load)
	watchdog := leaderelection.NewLeaderHealthzAdaptor(lead.LeaseDuration)
	server := &http.Server{Addr: o.Listen, Handler: pages(metrics, watchdog, current.Load), ReadHeaderTimeout: 5 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.ListenAndServe() }()
	defer server.Close()
	campaign := lead.New(&resourcelock.LeaseLock{
		LeaseMeta:  metav1.ObjectMeta{Namespace: o.Home, Name: settings.LeaseName},
		Client:     urgent.Core.CoordinationV1(),
		LockConfig: resourcelock.ResourceLockConfig{Identity: o.Name},
	}, watchdog, o.Log)
	defer campaign.Stop()
	rights := &rights{}
	var before *Guard // the life before this one
	for ctx.Err() == nil {
		g := &Guard{Home: o.Home, Relist: o.Relist, Urgent: urgent, Cleanup: cleanup, Clock: clock, Log: o.Log, Metrics: metrics,
			rights: rights, urgent: newQueue(), cleanup: newQueue()}
		if before != nil {
			g.known, g.memory, g.term = before.known, before.memory, before.term
		}
		before = g
		current.Store(g)
		err := g.run(ctx, campaign)
		switch {
		case errors.Is(err, errSettings):
			o.Log.Info("settings or rights changed, beginning again")
			continue
		case err != nil && ctx.Err() == nil:
			o.Log.Error("beginning again", "error", err)
		}
		campaign.Stop()
		select {
		case <-ctx.Done():
		case err := <-failed:
			return fmt.Errorf("serve %s: %w", o.Listen, err)
		case <-time.After(lead.RetryPeriod):
		}
	}
	return nil
}

func clients(config *rest.Config, clock *kube.Clock, outage *kube.Outage, qps float32, burst int) (store.Store, error) {
	c := kube.Wrap(config, clock, outage)
	c.QPS, c.Burst, c.UserAgent = qps, burst, "osc-guard"
	core, routes, err := kube.Clients(c)
	return store.Store{Core: core, Routes: routes, Once: true, Outage: outage}, err
}

// pages are the process' HTTP pages. A replica is alive unless it believes to hold a
// Lease that it long failed to renew, and ready when its caches have synced.
func pages(m *Metrics, watchdog *leaderelection.HealthzAdaptor, current func() *Guard) http.Handler {
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

// syncTime is how long a replica that may hold the Lease may take to begin again, until its
// caches have synced; then it leaves the sessions to the other one.
const syncTime = time.Minute

// run is a Guard's life, with one set of settings. What it started has ended when it
// returns; the Lease stays held, until the campaign is stopped.
func (g *Guard) run(process context.Context, c *lead.Campaign) error {
	ctx, cancel := context.WithCancelCause(process)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel(nil)
	defer g.shutDown()
	if c.Runs() {
		late := time.AfterFunc(syncTime, func() {
			if !g.Ready() {
				cancel(fmt.Errorf("its caches have not synced within %s", syncTime))
			}
		})
		defer late.Stop()
	}
	asked, err := g.readSettings(ctx)
	if err != nil {
		return err
	}
	g.Settings = asked
	allowed, missing, err := g.allow(ctx, g.Settings.Namespaces)
	if err != nil {
		return err
	}
	if g.leaving, err = g.left(ctx, asked.Namespaces); err != nil {
		return err
	}
	g.Settings.Namespaces = allowed
	if g.Settings.Drain < g.Settings.ReloadInterval {
		g.Log.Warn("setting drain is shorter than reloadInterval: a sandbox may go before the router lets go of it")
	}
	if g.SeesNodes, err = seesNodes(ctx, g.Urgent.Core); err != nil {
		return err
	}
	running.Go(func() { cancel(g.followSettings(ctx, asked)) })
	if len(missing) > 0 || !g.SeesNodes {
		running.Go(func() { cancel(g.followRights(ctx, missing)) })
	}
	g.lost = cancel
	if err := g.Watch(ctx, running.Go); err != nil {
		return err
	}
	c.Begin()
	if term := c.Lead(ctx); term != nil {
		if term != g.term {
			g.forgetAll() // another replica may have led meanwhile: since when things are so is not known
		}
		g.term = term
		defer context.AfterFunc(term, func() { cancel(lead.ErrLost) })()
		g.lead(ctx)
	}
	return context.Cause(ctx)
}

// lead acts until the context ends, which it does when the Lease is lost.
func (g *Guard) lead(ctx context.Context) {
	g.Metrics.Leading(true)
	defer g.Metrics.Leading(false)
	var publishing sync.WaitGroup
	defer publishing.Wait()
	publishing.Go(func() {
		g.publish(ctx, g.leaving)
		g.leave(ctx)
	})
	g.Act(ctx)
}

// publish writes down what the guard covers, until that succeeds.
func (g *Guard) publish(ctx context.Context, leaving []string) {
	status := standby.Status{Journal: record.JournalVersion, Namespaces: g.Settings.Namespaces, Leaving: leaving, Nodes: g.SeesNodes}
	for ctx.Err() == nil {
		err := publish(ctx, g.Urgent.Core, g.Home, status)
		if err == nil {
			return
		}
		g.Log.Error("status not published: new sessions may not find this guard", "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(lead.RetryPeriod):
		}
	}
}

// Hostname is a replica's name: its pod's.
func Hostname() string {
	name, err := os.Hostname()
	if err != nil {
		return fmt.Sprintf("guard-%d", os.Getpid())
	}
	return name
}
