package guard

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	routev1 "github.com/openshift/api/route/v1"

	"github.com/osc-debug/osc-debug/pkg/session/record"
)

// Metrics are the guard's Prometheus metrics.
type Metrics struct {
	Registry      *prometheus.Registry
	restores      *prometheus.CounterVec
	seconds       prometheus.Histogram
	failures      prometheus.Counter
	orphans       prometheus.Counter
	unreadable    prometheus.Counter
	overLimit     prometheus.Counter
	touches       prometheus.Counter
	failedTouches prometheus.Counter
	leader        prometheus.Gauge
}

// NewMetrics makes and registers the metrics, all named osc_debug_guard_*.
func NewMetrics() *Metrics {
	const namespace, subsystem = "osc_debug", "guard"
	m := &Metrics{
		Registry: prometheus.NewRegistry(),
		restores: prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Subsystem: subsystem, Name: "restores_total",
			Help: "Restored Routes, by reason."}, []string{"reason"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: namespace, Subsystem: subsystem, Name: "restore_seconds",
			Help: "Time from the cause of a restore to the patched Route.", Buckets: []float64{.05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300}}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Subsystem: subsystem, Name: "failures_total",
			Help: "Failed attempts to end a session; each is retried."}),
		orphans: prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Subsystem: subsystem, Name: "orphans_total",
			Help: "Sessions whose sandbox was deleted because their Route had no mark of them."}),
		unreadable: prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Subsystem: subsystem, Name: "unreadable_journals_total",
			Help: "Sessions left alone because their journal cannot be read."}),
		overLimit: prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Subsystem: subsystem, Name: "over_limit_total",
			Help: "Objects without a mark on their Route that were set aside, because their namespace has too many. They are checked when all objects are listed again."}),
		touches: prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Subsystem: subsystem, Name: "touches_total",
			Help: "Times that routers were made to reload, because servers of a session's backends had changed."}),
		failedTouches: prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Subsystem: subsystem, Name: "failed_touches_total",
			Help: "Times that routers could not be made to reload. The share of a session may drift."}),
		leader: prometheus.NewGauge(prometheus.GaugeOpts{Namespace: namespace, Subsystem: subsystem, Name: "leader",
			Help: "1 while this replica holds the Lease."}),
	}
	m.Registry.MustRegister(m.restores, m.seconds, m.failures, m.orphans, m.unreadable, m.overLimit, m.touches, m.failedTouches, m.leader,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// SetLeader records whether this replica holds the Lease.
func (m *Metrics) SetLeader(leads bool) {
	m.leader.Set(0)
	if leads {
		m.leader.Set(1)
	}
}

// sessionCollector counts sessions by state at each scrape, from the caches of the current Guard.
type sessionCollector struct {
	current func() *Guard
	desc    *prometheus.Desc
}

// CountSessions registers a metric of the number of sessions by state. current returns the current
// Guard, nil for none.
func (m *Metrics) CountSessions(current func() *Guard) {
	m.Registry.MustRegister(sessionCollector{current, prometheus.NewDesc("osc_debug_guard_sessions", "Sessions by state.", []string{"state"}, nil)})
}

// Describe sends the metric's description.
func (s sessionCollector) Describe(c chan<- *prometheus.Desc) { c <- s.desc }

// Collect sends the number of sessions in each state.
func (s sessionCollector) Collect(c chan<- prometheus.Metric) {
	count := map[record.State]int{record.Arming: 0, record.Live: 0, record.Held: 0, record.Draining: 0}
	if g := s.current(); g != nil && g.Ready() {
		for _, caches := range g.caches {
			for _, o := range caches.routes.GetStore().List() {
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
