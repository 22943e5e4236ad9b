package plan

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"

	"github.com/osc-debug/osc-debug/pkg/preflight"
	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/sandbox"
	"github.com/osc-debug/osc-debug/pkg/workload"
)

// refuseSelected refuses a sandbox that a selector matches whatever its labels are. force does not
// lift this for a controller, which would adopt or delete the sandbox's pods.
func (p *Plan) refuseSelected(force bool) error {
	_, _, caught := p.Input.Labels()
	for _, s := range caught {
		code := reason.SelectsEveryPod
		switch s.Kind {
		case workload.AntiAffinity, workload.Spread:
			p.warn(reason.New(reason.SchedulingCountsSandbox, "rule", s.Kind+" "+s.Name))
			continue
		case "service":
			code = reason.ServiceSelectsEveryPod
		case "poddisruptionbudget":
			code = reason.BudgetSelectsEveryPod
		}
		refusal := reason.New(code, "selector", s, "namespace", p.Facts.Namespace.Name, "workload", p.Input.Program)
		if err := p.refuseUnlessForced(force && code != reason.SelectsEveryPod, refusal); err != nil {
			return err
		}
	}
	return nil
}

// advise adds notes on how the sandbox differs from the original, and warnings of what may follow.
func (p *Plan) advise(q Request) {
	program := p.Input.Program
	_, dropped, _ := p.Input.Labels()
	for _, k := range slices.Sorted(maps.Keys(dropped)) {
		p.note("label %s=%s is left off the sandbox, because something else in the namespace would select it", k, dropped[k])
	}
	for _, k := range p.Input.LeftOffAnnotations() {
		p.note("annotation %s is left off the sandbox; an administrator can allow its domain (data.annotations in ConfigMap osc-debug)", k)
	}
	if program.Mesh != "" {
		p.warn(reason.New(reason.MeshProxyLeftOff, "mesh", program.Mesh))
	}
	p.adviseOnRecording(q)
	for _, name := range q.Changes.SkipInit {
		p.note("init container %s does not run in the sandbox", name)
	}
	for _, c := range slices.Concat(program.Spec.InitContainers, program.Spec.Containers) {
		if l := c.Lifecycle; l != nil && l.PostStart != nil {
			p.note("the postStart hook of container %s runs in the sandbox too", c.Name)
		}
		if l := c.Lifecycle; l != nil && l.PreStop != nil {
			p.note("the preStop hook of container %s runs when the sandbox ends", c.Name)
		}
	}
	if program.Spec.SchedulingGroup != nil {
		p.note("the sandbox is not a member of the original's scheduling group")
	}
	if users := program.Spec.HostUsers; users != nil && !*users {
		p.note("the sandbox has no user namespace; its VM isolates it")
	}
	for _, g := range program.Spec.ReadinessGates {
		p.note("readiness gate %s is left off the sandbox", g.ConditionType)
	}
	for _, g := range program.Spec.SchedulingGates {
		p.note("scheduling gate %s is left off the sandbox", g.Name)
	}
	if a := program.Spec.Affinity; a != nil && a.PodAntiAffinity != nil && len(a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution) > 0 {
		p.note("required anti-affinity is left off the sandbox, because it would keep new pods of the original off its node")
	}
	for _, v := range q.Changes.EmptyVolumes {
		p.note("volume %s is empty in the sandbox", v)
	}
	if program.Kind == "StatefulSet" {
		p.note("the sandbox has its own host name and is not StatefulSet member %s", program.Live.Name)
	}
	p.adviseOnLimits(q)
	p.adviseOnPolicies()
	for _, h := range p.Facts.Namespace.Scaling(program) {
		if q.Detach {
			p.warn(reason.New(reason.DetachedMayShrink, "autoscaler", h.Name, "workload", program, "ready", program.Ready, "least", minReplicas(h), "field", workload.LeastOf(h)))
		} else {
			p.warn(reason.New(reason.AutoscalerMayShrink, "autoscaler", h.Name, "workload", program, "ready", program.Ready, "least", minReplicas(h)))
		}
	}
	if unreadable := p.Facts.Namespace.Unreadable; len(unreadable) > 0 {
		p.warn(reason.New(reason.RightsToListMissing, "kinds", strings.Join(unreadable, ", ")))
	}
	for _, why := range preflight.OtherRouters(p.Facts.Route) {
		p.warn(why)
	}
}

// adviseOnRecording says what a recording does not have.
func (p *Plan) adviseOnRecording(q Request) {
	switch {
	case len(q.Record) == 0:
	case q.Changes.SeparatePIDs:
		p.warn(reason.New(reason.NotRecorded))
	case len(p.Input.Program.Spec.InitContainers) > len(q.Changes.SkipInit):
		p.note("the recording begins after the init containers")
	}
}

// highPercent is the share from which on a program without limits may have too little in a VM.
const highPercent = 50

// adviseOnLimits warns of containers without limits, if the sandbox is to get a high share. A VM has what its
// containers' limits add up to, besides the runtime's default.
func (p *Plan) adviseOnLimits(q Request) {
	if max(q.Percent, slices.Max(append(slices.Clone(q.Steps), 0))) < highPercent {
		return
	}
	whole := p.Input.Program.Live.Spec.Resources
	for _, c := range p.Input.Program.Live.Spec.Containers {
		var without []string
		for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
			_, has := c.Resources.Limits[name]
			if whole != nil && !has {
				_, has = whole.Limits[name]
			}
			if !has {
				without = append(without, string(name))
			}
		}
		known := slices.ContainsFunc(p.Input.Program.Spec.Containers, func(own corev1.Container) bool { return own.Name == c.Name })
		if known && without != nil {
			p.warn(reason.New(reason.NoLimitsInVM, "container", c.Name, "resources", strings.Join(without, " and ")))
		}
	}
}

// adviseOnPolicies adds notes and warnings on NetworkPolicies.
func (p *Plan) adviseOnPolicies() {
	for _, policy := range sandbox.Policies(p.Input) {
		if of, mirrors := policy.Annotations[sandbox.MirrorsKey]; mirrors {
			p.note("NetworkPolicy %s is copied for the sandbox", of)
		} else {
			p.note("NetworkPolicy %s allows the original; during the session, a NetworkPolicy allows the sandbox too", policy.Annotations[sandbox.OpensKey])
		}
	}
	for _, name := range sandbox.Apart(p.Input) {
		p.warn(reason.New(reason.PolicyApart, "policy", name))
	}
	for _, name := range sandbox.Strangers(p.Input) {
		p.warn(reason.New(reason.PolicyStrangers, "policy", name))
	}
}

func (p *Plan) note(format string, args ...any) {
	p.Notes = append(p.Notes, fmt.Sprintf(format, args...))
}

func (p *Plan) warn(err error) { p.Warnings = append(p.Warnings, err) }

// minReplicas returns the least number of pods that an autoscaler may leave.
func minReplicas(h autoscalingv2.HorizontalPodAutoscaler) int32 {
	if h.Spec.MinReplicas == nil {
		return 1
	}
	return *h.Spec.MinReplicas
}
