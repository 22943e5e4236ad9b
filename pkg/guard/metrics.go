package guard

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	routev1 "github.com/openshift/api/route/v1"

	"github.com/osc-debug/osc-debug/pkg/session/record"
)

// Metrics are what the guard counts.
type Metrics struct {
	Registry   *prometheus.Registry
	restores   *prometheus.CounterVec
	seconds    prometheus.Histogram
	failures   prometheus.Counter
	orphans    prometheus.Counter
	unreadable prometheus.Counter
	leader     prometheus.Gauge
}

// NewMetrics makes them, all named osc_debug_guard_*.
func NewMetrics() *Metrics {
	const space, part = "osc_debug", "guard"
	m := &Metrics{
		Registry: prometheus.NewRegistry(),
		restores: prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: space, Subsystem: part, Name: "restores_total",
			Help: "Routes put back, by reason."}, []string{"reason"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: space, Subsystem: part, Name: "restore_seconds",
			Help: "Time from the cause of a restore to the patched Route.", Buckets: []float64{.05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300}}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{Namespace: space, Subsystem: part, Name: "failures_total",
			Help: "Attempts to end a session that failed; each is tried again."}),
		orphans: prometheus.NewCounter(prometheus.CounterOpts{Namespace: space, Subsystem: part, Name: "orphans_total",
			Help: "Sessions whose sandbox was deleted because their Route bore no mark of them."}),
		unreadable: prometheus.NewCounter(prometheus.CounterOpts{Namespace: space, Subsystem: part, Name: "unreadable_journals_total",
			Help: "Sessions left alone because their journal can't be read."}),
		leader: prometheus.NewGauge(prometheus.GaugeOpts{Namespace: space, Subsystem: part, Name: "leader",
			Help: "1 while this replica holds the Lease."}),
	}
	m.Registry.MustRegister(m.restores, m.seconds, m.failures, m.orphans, m.unreadable, m.leader,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Leading notes whether this replica holds the Lease.
func (m *Metrics) Leading(is bool) {
	m.leader.Set(0)
	if is {
		m.leader.Set(1)
	}
}

// sessions counts the sessions by state at each scrape, from the caches.
type sessions struct {
	current func() *Guard
	desc    *prometheus.Desc
}

// CountSessions registers the count of sessions by state, from the caches of a Guard.
func (m *Metrics) CountSessions(current func() *Guard) {
	m.Registry.MustRegister(sessions{current, prometheus.NewDesc("osc_debug_guard_sessions", "Sessions by state.", []string{"state"}, nil)})
}

func (s sessions) Describe(c chan<- *prometheus.Desc) { c <- s.desc }

func (s sessions) Collect(c chan<- prometheus.Metric) {
	count := map[record.State]int{record.Arming: 0, record.Live: 0, record.Held: 0, record.Draining: 0}
	if g := s.current(); g != nil && g.Ready() {
		for _, w := range g.watched {
			for _, o := range w.routes.GetStore().List() {
				if r, ok := o.(*routev1.Route); ok {
					if found := record.Of(r); found != nil {
						count[found.State]++
					}
				}
			}
		}
	}
	for state, n := range count {
		c <- prometheus.MustNewConstMetric(s.desc, prometheus.GaugeValue, float64(n), string(state))
	}
}
