package session

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osc-debug/osc-debug/pkg/preflight"
	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/route"
	"github.com/osc-debug/osc-debug/pkg/sandbox"
	"github.com/osc-debug/osc-debug/pkg/session/record"
	"github.com/osc-debug/osc-debug/pkg/workload"
)

// maxReplicas and loadFactor bound a sandbox: so many pods that none carries more than
// loadFactor times what an original pod does now.
const (
	maxReplicas = 5
	loadFactor  = 1.5
)

// plan makes of what was read all that will be written.
func (r *Runner) plan() error {
	ns := r.facts.Namespace
	program, err := workload.Find(r.facts.Route, ns, r.Workload)
	if err != nil {
		return err
	}
	if err := preflight.Unclonable(program, ns, r.Changes.EmptyVolumes); err != nil {
		return err
	}
	for _, risk := range preflight.Risks(program, ns, r.Changes.EmptyVolumes) {
		if !r.Force {
			return risk
		}
		r.Report.Warn(&reason.Forced{Refused: risk})
	}
	if r.Replicas, err = r.replicas(program); err != nil {
		return err
	}
	id := record.NewID()
	r.input = sandbox.Input{
		Session: id, Route: r.facts.Route, Program: program, Service: ns.Service(r.facts.Route.Spec.To.Name),
		Selectors: ns.Selectors(), Policies: ns.Policies,
		RuntimeClass: r.RuntimeClass, Image: r.Image, Replicas: r.Replicas, Changes: r.Changes,
	}
	if err := r.input.CheckChanges(); err != nil {
		return err
	}
	container, err := sandbox.Container(r.input, r.Container)
	if err != nil {
		return err
	}
	if err := r.escaped(); err != nil {
		return err
	}
	if err := preflight.Unproven(r.facts.Route, len(r.Routers)); err != nil && !r.NoProbe {
		if !r.Force {
			return err
		}
		r.Report.Warn(&reason.Forced{Refused: err})
	}
	r.tellPlan()
	r.target = Target{Session: id, Namespace: r.Namespace, Container: container}
	now := r.Clock.Now()
	r.journal = &record.Journal{
		Version: record.JournalVersion, Session: id, State: record.Arming, RouteUID: string(r.facts.Route.UID), User: r.facts.User,
		Workload: program.String(), Servers: r.facts.Servers()[r.facts.Route.Spec.To.Name], Pods: r.Replicas, Asked: r.Percent,
		ArmBy: metav1.NewTime(now.Add(r.Timeout + r.proveWithin() + r.baselineWait() + armTime).Truncate(time.Second)),
	}
	return nil
}

// escaped refuses where something selects the sandbox whatever labels it has. A
// controller would adopt or delete it, which nobody can wish for.
func (r *Runner) escaped() error {
	_, _, caught := r.input.Labels()
	for _, s := range caught {
		code := reason.SelectsEveryPod
		switch s.Kind {
		case "service":
			code = reason.ServiceSelectsEveryPod
		case "poddisruptionbudget":
			code = reason.BudgetSelectsEveryPod
		}
		refusal := reason.New(code, "selector", s, "namespace", r.Namespace, "workload", r.input.Program)
		if !r.Force || code == reason.SelectsEveryPod {
			return refusal
		}
		r.Report.Warn(&reason.Forced{Refused: refusal})
	}
	return nil
}

// tellPlan says in what the sandbox is not like the original, and what that means.
func (r *Runner) tellPlan() {
	program, ns := r.input.Program, r.facts.Namespace
	_, dropped, _ := r.input.Labels()
	for _, k := range slices.Sorted(maps.Keys(dropped)) {
		r.Report.Note("label %s=%s is left off the sandbox, or something else here would select it", k, dropped[k])
	}
	if program.Mesh != "" {
		r.Report.Warn(reason.New(reason.MeshProxyLeftOff, "mesh", program.Mesh))
	}
	for _, c := range program.Spec.InitContainers {
		r.Report.Note("init container %s runs again in the sandbox", c.Name)
	}
	for _, g := range program.Spec.ReadinessGates {
		r.Report.Note("readiness gate %s is left off the sandbox", g.ConditionType)
	}
	if a := program.Spec.Affinity; a != nil && a.PodAntiAffinity != nil && len(a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution) > 0 {
		r.Report.Note("required anti-affinity is left off the sandbox, or it would keep the original's next pods off its node")
	}
	for _, v := range r.Changes.EmptyVolumes {
		r.Report.Note("volume %s is empty in the sandbox", v)
	}
	if program.Kind == "StatefulSet" {
		r.Report.Note("the sandbox has a host name of its own: it is no member %s", program.Live.Name)
	}
	for _, p := range sandbox.Policies(r.input) {
		if of, mirrors := p.Annotations[sandbox.MirrorsKey]; mirrors {
			r.Report.Note("NetworkPolicy %s holds for the sandbox too", of)
		} else {
			r.Report.Note("NetworkPolicy %s lets the original through, and for the session the sandbox too", p.Annotations[sandbox.OpensKey])
		}
	}
	for _, name := range sandbox.Apart(r.input) {
		r.Report.Warn(reason.New(reason.PolicyApart, "policy", name))
	}
	for _, name := range sandbox.Strangers(r.input) {
		r.Report.Warn(reason.New(reason.PolicyStrangers, "policy", name))
	}
	for _, h := range ns.Scaling(program) {
		if r.Detach {
			r.Report.Warn(reason.New(reason.DetachedMayShrink, "autoscaler", h.Name, "workload", program, "ready", program.Ready, "least", least(h), "field", workload.LeastOf(h)))
		} else {
			r.Report.Warn(reason.New(reason.AutoscalerMayShrink, "autoscaler", h.Name, "workload", program, "ready", program.Ready, "least", least(h)))
		}
	}
	if len(ns.Unreadable) > 0 {
		r.Report.Warn(reason.New(reason.RightsToListMissing, "kinds", strings.Join(ns.Unreadable, ", ")))
	}
	for _, why := range preflight.OtherRouters(r.facts.Route) {
		r.Report.Warn(why)
	}
}

// least is how few pods an autoscaler may leave.
func least(h autoscalingv2.HorizontalPodAutoscaler) int32 {
	if h.Spec.MinReplicas == nil {
		return 1
	}
	return *h.Spec.MinReplicas
}

// replicas chooses how many pods carry the wanted share.
func (r *Runner) replicas(p *workload.Program) (int, error) {
	if r.Replicas > 0 {
		return r.Replicas, nil
	}
	most := r.Percent
	for _, step := range r.Steps {
		most = max(most, step)
	}
	originals := route.Backends(r.facts.Route, r.facts.Servers())
	load := route.Load(originals, r.facts.Route.Spec.To.Name, most)
	n := max(int(math.Ceil(load/loadFactor)), 1)
	if n > maxReplicas {
		return 0, reason.New(reason.TooMuchLoad, "workload", p, "percent", fmt.Sprintf("%g", most), "load", fmt.Sprintf("%.1f", load),
			"pods", maxReplicas, "possible", int(most*maxReplicas*loadFactor/load))
	}
	return n, nil
}
