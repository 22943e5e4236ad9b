// Package guard ends what a debugging session left unfinished: traffic on a sandbox that
// is not ready, sessions past their time, endings that were interrupted, marks that
// somebody pruned. It goes by what the Routes say, acts only when its caches have
// synced and a live read agrees, patches Routes and deletes sandboxes, nothing else.
package guard

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"

	"github.com/osc-debug/osc-debug/pkg/guard/judge"
	"github.com/osc-debug/osc-debug/pkg/kube"
	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/session/record"
	"github.com/osc-debug/osc-debug/pkg/session/store"
	"github.com/osc-debug/osc-debug/pkg/settings"
)

// Guard watches namespaces. One process per cluster acts at a time: the caller sees to
// that by leader election.
type Guard struct {
	// Urgent patches Routes, Cleanup deletes and writes Events: clients with limits of
	// their own, so that a thousand sessions which end at once are first all restored.
	Urgent, Cleanup store.Store
	Home            string        // namespace of its settings, its status and its Lease
	Clock           *kube.Clock   // the API server's
	Relist          time.Duration // between lists of all that is watched
	Settings        settings.Settings
	SeesNodes       bool // it may look at nodes
	Log             *slog.Logger
	Metrics         *Metrics

	watched map[string]*watched       // by namespace, AllNamespaces for all
	nodes   cache.SharedIndexInformer // that are cordoned; nil without the right to see nodes
	urgent  queue                     // sessions to look at
	cleanup queue                     // sessions whose sandbox is to be deleted
	events  chan func(context.Context)
	acting  atomic.Bool
	lost    context.CancelCauseFunc // begins again: a right was lost
	known   *settings.Settings      // the last that could be used, this life's or an earlier one's
	rights  *rights                 // from one life to the next
	term    context.Context         // of the Lease under which memory was gathered
	leaving []string                // namespaces that are set no more; their sessions are ended
	mu      sync.Mutex
	memory  map[key]*memory
	synced  atomic.Bool
}

// memory is what no object says of a session. Whoever works on the session holds it, but
// for noted.
type memory struct {
	sync.Mutex
	unreadySince, drainingSince, marklessSince time.Time
	drained                                    time.Time            // when the sandbox is let go, since this guard restored the Route
	deleted                                    bool                 // this guard deleted something of it
	closed                                     bool                 // this guard removed its last mark
	changed                                    time.Time            // when the event came that is looked at, zero: it is time alone
	route                                      types.UID            // of the Route that bore the session's marks
	noted                                      atomic.Int64         // when the first event came that was not looked at yet, in ns; 0: none did
	told                                       map[reason.Code]bool // Events that were written
}

// Workers of both queues; they wait for the API server most of their time.
const (
	urgentWorkers  = 16
	cleanupWorkers = 8
	eventsWaiting  = 1000 // Events are a courtesy: more are dropped
)

// orphan: see judge.Limits.
const orphan = 2 * time.Minute

// settle is how long one cache may be behind another: a Route without marks whose sandbox is
// there means something only after that.
const settle = 5 * time.Second

func (g *Guard) limits() judge.Limits {
	return judge.Limits{Grace: g.Settings.Grace, Drain: g.Settings.Drain, Courtesy: settings.Courtesy, Orphan: orphan}
}

// namespaces are all that are watched: AllNamespaces alone where it is among them.
func (g *Guard) namespaces() []string {
	all := slices.Concat(g.Settings.Namespaces, g.leaving)
	if slices.Contains(all, settings.AllNamespaces) {
		return []string{settings.AllNamespaces}
	}
	return all
}

// Watch fills the caches of the namespaces, in goroutines that spawn starts and that end
// with the context; it returns when all have synced. Standby replicas watch too, so that
// taking over costs nothing.
func (g *Guard) Watch(ctx context.Context, spawn func(func())) error {
	g.watched = map[string]*watched{}
	if g.memory == nil {
		g.memory = map[key]*memory{}
	}
	g.events = make(chan func(context.Context), eventsWaiting)
	var synced []cache.InformerSynced
	namespaces := g.namespaces()
	for _, namespace := range namespaces {
		w, err := g.watchNamespace(namespace, g.look)
		if err != nil {
			return err
		}
		g.watched[namespace] = w
		for _, i := range w.all() {
			spawn(func() { i.RunWithContext(ctx) })
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

// Ready says whether the caches have synced.
func (g *Guard) Ready() bool { return g.synced.Load() }

// Act ends sessions until the context ends. Watch must have returned before.
func (g *Guard) Act(ctx context.Context) {
	g.acting.Store(true)
	for _, w := range g.watched { // what happened before was not noted: look at all once
		for _, i := range w.all() {
			for _, o := range i.GetIndexer().List() {
				for _, k := range w.keysOf(o) {
					g.look(k, w.urgent(k, o))
				}
			}
		}
	}
	var running sync.WaitGroup
	for range urgentWorkers {
		running.Go(func() { g.work(ctx, g.urgent, false) })
	}
	for range cleanupWorkers {
		running.Go(func() { g.work(ctx, g.cleanup, true) })
	}
	running.Go(func() { g.writeEvents(ctx) })
	<-ctx.Done()
	g.shutDown()
	running.Wait()
}

// shutDown ends the queues; those of a life that never acted too.
func (g *Guard) shutDown() {
	g.urgent.ShutDown()
	g.cleanup.ShutDown()
}

// look has a session looked at. A standby replica notes nothing: it would only grow.
func (g *Guard) look(k key, urgent bool) {
	if !g.acting.Load() || !record.ValidID(k.id) {
		return
	}
	g.recall(k).noted.CompareAndSwap(0, g.Clock.Now().UnixNano())
	if urgent {
		g.urgent.Add(k)
	} else {
		g.cleanup.Add(k)
	}
}

type queue = workqueue.TypedRateLimitingInterface[key]

func newQueue() queue {
	return workqueue.NewTypedRateLimitingQueue(workqueue.NewTypedItemExponentialFailureRateLimiter[key](200*time.Millisecond, 10*time.Second))
}

// work takes sessions from a queue until it is shut down. Those whose sandbox is to be
// deleted go to the other queue: deleting waits for nobody's traffic.
func (g *Guard) work(ctx context.Context, q queue, deletes bool) {
	for {
		k, shutdown := q.Get()
		if shutdown {
			return
		}
		if ctx.Err() == nil {
			look, err := g.reconcileSafely(ctx, k, deletes)
			g.again(q, k, look, err)
			if apierrors.IsForbidden(err) {
				g.checkRights(ctx, g.scope(k.namespace))
			}
		}
		q.Done(k)
	}
}

// reconcileSafely is reconcile, whose panic is an error of the one session: what a Route says
// is written by its users, and must not take the guard from all others.
func (g *Guard) reconcileSafely(ctx context.Context, k key, deletes bool) (look time.Duration, err error) {
	defer func() {
		if r := recover(); r != nil {
			g.Log.Error("panic", "session", k.String(), "panic", r, "stack", string(debug.Stack()))
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	return g.reconcile(ctx, k, deletes)
}

// again has a session looked at again when it is time.
func (g *Guard) again(q queue, k key, look time.Duration, err error) {
	switch {
	case apierrors.IsConflict(err): // somebody wrote the Route meanwhile: judge it afresh
		q.AddRateLimited(k)
	case err != nil:
		g.Metrics.failures.Inc()
		g.Log.Error("session not ended, trying again", "session", k.String(), "error", err)
		q.AddRateLimited(k)
	case look > 0:
		q.Forget(k)
		g.urgent.AddAfter(k, look)
	default:
		q.Forget(k)
	}
}

// scope is what the settings call a namespace that is watched.
func (g *Guard) scope(namespace string) string {
	if g.watched[settings.AllNamespaces] != nil {
		return settings.AllNamespaces
	}
	return namespace
}

// in gives the caches that hold a namespace.
func (g *Guard) in(namespace string) *watched {
	return g.watched[g.scope(namespace)]
}

// recall gives the memory of a session.
func (g *Guard) recall(k key) *memory {
	g.mu.Lock()
	defer g.mu.Unlock()
	m := g.memory[k]
	if m == nil {
		m = &memory{told: map[reason.Code]bool{}}
		g.memory[k] = m
	}
	return m
}

// forgetAll forgets all sessions.
func (g *Guard) forgetAll() {
	g.mu.Lock()
	defer g.mu.Unlock()
	clear(g.memory)
}

func (g *Guard) forget(k key) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.memory, k)
}
