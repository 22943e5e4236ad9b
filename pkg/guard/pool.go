package guard

import (
	"context"
	"sync"
	"sync/atomic"
)

// pool keeps the caches of namespaces from one Guard to the next. When settings or permissions change for one
// namespace, the next Guard does not read all others again: anyone who can delete a watched namespace could otherwise
// keep the guard from looking at the sessions of others.
type pool struct {
	ctx     context.Context // until which the caches are kept at most
	guard   atomic.Pointer[Guard]
	running sync.WaitGroup
	pages   pages // of all lists together

	mu sync.Mutex
	of map[string]*kept // by namespace; AllNamespaces for all
}

// kept are the caches of one namespace, which run until stop is called.
type kept struct {
	*caches
	stop context.CancelFunc
}

// newPool returns an empty pool, whose caches end with ctx.
func newPool(ctx context.Context) *pool {
	return &pool{ctx: ctx, pages: newPages(), of: map[string]*kept{}}
}

// take returns the caches of namespaces. From now on they report to g. Those of other namespaces end.
func (p *pool) take(g *Guard, namespaces []string) (map[string]*caches, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.guard.Store(g)
	wanted := map[string]*kept{}
	for _, namespace := range namespaces {
		k := p.of[namespace]
		if k == nil {
			c, err := g.newCaches(namespace, p.guard.Load)
			if err != nil {
				return nil, err
			}
			ctx, stop := context.WithCancel(p.ctx)
			k = &kept{c, stop}
			p.of[namespace] = k
			for _, i := range c.all() {
				p.running.Go(func() { i.RunWithContext(ctx) })
			}
		}
		wanted[namespace] = k
	}
	out := map[string]*caches{}
	for namespace, k := range p.of {
		if wanted[namespace] == nil {
			k.stop()
			delete(p.of, namespace)
			continue
		}
		out[namespace] = k.caches
	}
	return out, nil
}

// clear ends all caches, so that the next Guard reads everything again. It returns when their goroutines have ended.
func (p *pool) clear() {
	p.mu.Lock()
	for namespace, k := range p.of {
		k.stop()
		delete(p.of, namespace)
	}
	p.mu.Unlock()
	p.running.Wait()
}
