// Package guard ends debugging sessions that were left unfinished. It moves traffic off sandboxes that
// are not ready, ends sessions that have expired, completes endings that were interrupted, and ends
// sessions whose marks someone removed. It learns of sessions from the Routes. It acts only when its
// caches have synced and a live read agrees with them. Apart from its Events and its status, it only
// patches Routes and deletes sandboxes.
package guard

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/cache"

	"github.com/osc-debug/osc-debug/pkg/guard/judge"
	"github.com/osc-debug/osc-debug/pkg/kube"
	"github.com/osc-debug/osc-debug/pkg/session/record"
	"github.com/osc-debug/osc-debug/pkg/session/store"
	"github.com/osc-debug/osc-debug/pkg/settings"
)

// Guard watches namespaces and ends sessions, with one set of settings. Serve makes a new Guard when
// the settings change. Only one replica acts at a time, which the caller ensures by leader election.
type Guard struct {
	// Urgent patches Routes. Cleanup deletes sandboxes and writes Events. The clients have separate
	// rate limits, so that all Routes are restored first when a thousand sessions end at once.
	Urgent, Cleanup store.Store
	Home            string        // namespace of its settings, its status and its Lease
	Clock           *kube.Clock   // the API server's time
	Relist          time.Duration // how often to list all watched objects again
	Settings        settings.Settings
	SeesNodes       bool // whether it has permission to read nodes
	Log             *slog.Logger
	Metrics         *Metrics

	pool         *pool                     // of caches, shared with the next Guard
	caches       map[string]*caches        // by namespace; AllNamespaces for all
	nodes        cache.SharedIndexInformer // cordoned nodes; nil without permission to read nodes
	urgent       queue                     // sessions to check
	cleanup      queue                     // sessions whose sandbox has to be deleted
	events       chan func(context.Context)
	acting       atomic.Bool
	restart      context.CancelCauseFunc // ends this Guard so that Serve makes a new one
	lastSettings *settings.Settings      // last valid settings, of this Guard or an earlier one; nil: none yet
	rights       *rightsCache            // shared with the next Guard
	term         context.Context         // term of the Lease in which memory was collected
	leaving      []string                // namespaces removed from the settings, whose sessions are still ended
	memory       *memories
	synced       atomic.Bool
	followed     followed
	touches      *rate.Limiter
	following    context.Context // until the guard stops acting
	spawn        func(func())    // starts a goroutine that ends with following
}

// Numbers of workers of the two queues, which mostly wait for the API server.
const (
	urgentWorkers  = 16
	cleanupWorkers = 8
)

// maxQueuedEvents bounds the queue of Events; more are dropped. No session depends on an Event.
const maxQueuedEvents = 1000

// cacheLag is how long one cache may be behind another. If the caches show a sandbox but no marks on
// its Route, the guard waits for this time before it reports that.
const cacheLag = 5 * time.Second

// limits returns the durations that the verdicts depend on.
func (g *Guard) limits() judge.Limits {
	return judge.Limits{Longest: g.Settings.MaxDuration, Grace: g.Settings.Grace, Drain: g.Settings.Drain, Courtesy: settings.Courtesy, Orphan: record.OrphanAge}
}

// watchedNamespaces lists the namespaces to watch, or only AllNamespaces if that is among them.
func (g *Guard) watchedNamespaces() []string {
	all := slices.Concat(g.Settings.Namespaces, g.leaving)
	if slices.Contains(all, settings.AllNamespaces) {
		return []string{settings.AllNamespaces}
	}
	return all
}

// Watch fills the caches, or takes over those of an earlier Guard, and returns when all have synced. spawn starts
// goroutines that end when ctx ends. Standby replicas watch too, so that one can take over without delay.
func (g *Guard) Watch(ctx context.Context, spawn func(func())) (err error) {
	if g.memory == nil {
		g.memory = &memories{}
	}
	g.events = make(chan func(context.Context), maxQueuedEvents)
	var synced []cache.InformerSynced
	namespaces := g.watchedNamespaces()
	LimitMemory(len(namespaces))
	if g.caches, err = g.pool.take(g, namespaces); err != nil {
		return err
	}
	for _, c := range g.caches {
		for _, i := range c.all() {
			synced = append(synced, i.HasSynced)
		}
	}
	if g.SeesNodes {
		if err := g.watchNodes(); err != nil {
			return err
		}
		spawn(func() { g.nodes.RunWithContext(ctx) })
		synced = append(synced, g.nodes.HasSynced)
	}
	if !cache.WaitForCacheSync(ctx.Done(), synced...) {
		return fmt.Errorf("watching %v: %w", namespaces, context.Cause(ctx))
	}
	g.synced.Store(true)
	g.Log.Info("watching", "namespaces", namespaces)
	return nil
}

// Ready reports whether the caches have synced.
func (g *Guard) Ready() bool { return g.synced.Load() }

// Act ends sessions until ctx ends. Watch must have returned before.
func (g *Guard) Act(ctx context.Context) {
	g.acting.Store(true)
	for _, c := range g.caches { // earlier events were not queued: check every session once
		for _, i := range c.all() {
			for _, o := range i.GetIndexer().List() {
				for _, k := range c.keysOf(o) {
					g.enqueue(k, c.isUrgent(k, o))
				}
			}
		}
	}
	var running sync.WaitGroup
	g.touches, g.following, g.spawn = rate.NewLimiter(touchesPerSecond, touchBurst), ctx, running.Go
	for range urgentWorkers {
		running.Go(func() { g.work(ctx, g.urgent, false) })
	}
	for range cleanupWorkers {
		running.Go(func() { g.work(ctx, g.cleanup, true) })
	}
	running.Go(func() { g.writeEvents(ctx) })
	<-ctx.Done()
	g.shutDownQueues()
	running.Wait()
}

// shutDownQueues must be called for every Guard, also one that never acted.
func (g *Guard) shutDownQueues() {
	g.urgent.ShutDown()
	g.cleanup.ShutDown()
}

// enqueue queues a session to be checked. On a standby replica it does nothing, because the queue
// would only grow.
func (g *Guard) enqueue(k key, urgent bool) {
	if !g.acting.Load() || !record.ValidID(k.id) {
		return
	}
	limit := math.MaxInt
	if !urgent {
		limit = maxUnmatched
	}
	m := g.memory.within(k, limit)
	if m == nil {
		g.Metrics.overLimit.Inc()
		return
	}
	m.firstEvent.CompareAndSwap(0, g.Clock.Now().UnixNano())
	if urgent {
		g.urgent.Add(k)
	} else {
		g.cleanup.Add(k)
	}
}

// work checks sessions from a queue until the queue is shut down. Only workers of the cleanup queue
// delete sandboxes (deletes), so that no session's traffic waits for deletions.
func (g *Guard) work(ctx context.Context, q queue, deletes bool) {
	for {
		k, shutdown := q.Get()
		if shutdown {
			return
		}
		if ctx.Err() == nil {
			after, err := g.reconcileSafely(ctx, k, deletes)
			g.requeue(q, k, after, err)
			if scope := g.scope(k.namespace); apierrors.IsForbidden(err) && g.rights.isDue(scope, g.Clock.Now()) {
				g.checkRights(ctx, scope)
			}
		}
		q.Done(k)
	}
}

// reconcileSafely calls reconcile and turns a panic into an error of this one session. Users write
// the Routes, and the contents of one must not stop the guard for all other sessions.
func (g *Guard) reconcileSafely(ctx context.Context, k key, deletes bool) (requeueAfter time.Duration, err error) {
	defer func() {
		if r := recover(); r != nil {
			g.Log.Error("panic", "session", k.String(), "panic", r, "stack", string(debug.Stack()))
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	return g.reconcile(ctx, k, deletes)
}

// requeue queues a session again after it was checked: after an error with a backoff, and otherwise
// after a time, 0 for not at all.
func (g *Guard) requeue(q queue, k key, after time.Duration, err error) {
	switch {
	case apierrors.IsConflict(err): // the Route has changed since it was read: decide again
		q.retry(k, err)
	case err != nil:
		g.Metrics.failures.Inc()
		g.Log.Error("cannot end session, retrying", "session", k.String(), "error", err)
		q.retry(k, err)
	case after > 0:
		q.succeeded(k)
		g.recheck(k, after)
	default:
		q.succeeded(k)
	}
}

// recheck queues a session to be checked after a time: with the urgent ones only if its Route is known.
func (g *Guard) recheck(k key, after time.Duration) {
	if g.isMatched(k) {
		g.urgent.AddAfter(k, after)
	} else {
		g.cleanup.AddAfter(k, after)
	}
}

// isMatched reports whether a session's Route has its marks, or had them when this guard last saw them.
func (g *Guard) isMatched(k key) bool {
	c := g.cachesOf(k.namespace)
	return c != nil && c.cachedRoute(k) != nil || g.memory.wasOnRoute(k)
}

// scope returns the key of g.caches for a namespace: AllNamespaces if all are watched.
func (g *Guard) scope(namespace string) string {
	if g.caches[settings.AllNamespaces] != nil {
		return settings.AllNamespaces
	}
	return namespace
}

// cachesOf returns the caches that contain a namespace, nil if it is not watched.
func (g *Guard) cachesOf(namespace string) *caches {
	return g.caches[g.scope(namespace)]
}
