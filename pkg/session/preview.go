package session

import (
	"context"
	"errors"
	"fmt"

	routev1 "github.com/openshift/api/route/v1"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osc-debug/osc-debug/pkg/preflight"
	"github.com/osc-debug/osc-debug/pkg/route"
	"github.com/osc-debug/osc-debug/pkg/sandbox"
	"github.com/osc-debug/osc-debug/pkg/session/record"
)

// dryRun has the API server judge everything that will be created and the first patch.
// Where a LimitRange is in the way the sidecar is made to fit, once.
func (r *Runner) dryRun(ctx context.Context) (*Preview, error) {
	p, err := r.dryRunOnce(ctx)
	namespace := r.facts.Namespace
	switch {
	case err == nil && r.input.Replicas == 1:
		return p, nil
	case err != nil && !preflight.OfLimits(err):
		return nil, err
	}
	if limitsErr := namespace.Limits(ctx, r.Core); limitsErr != nil {
		return nil, errors.Join(err, limitsErr)
	}
	if r.input.Ranges = namespace.Ranges; err != nil && len(namespace.Ranges) > 0 {
		p, err = r.dryRunOnce(ctx)
	}
	if p == nil {
		return nil, err
	}
	lines, tooMuch := preflight.Quota(namespace.Quotas, p.Pods[0], r.input.Replicas)
	for _, line := range lines {
		r.Report.Note("%s", line)
	}
	if err != nil {
		return nil, err
	}
	return p, tooMuch
}

// dryRunOnce returns the preview also where the API server refuses a part of it.
func (r *Runner) dryRunOnce(ctx context.Context) (*Preview, error) {
	p, err := r.preview()
	if err != nil {
		return nil, err
	}
	options := metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}, FieldManager: record.FieldManager}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		live, err := r.CheckArm(ctx, r.facts.Route, r.journal)
		if err == nil {
			p.Live = live
		}
		return preflight.Refused("the Route's patch", err)
	})
	g.Go(func() error {
		service, err := r.Core.CoreV1().Services(r.Namespace).Create(ctx, p.Service, options)
		if err == nil {
			p.Service = service
		}
		return preflight.Refused("the sandbox's Service", err)
	})
	g.Go(func() error {
		// The pods differ by name only: one is judged.
		pod, err := r.Core.CoreV1().Pods(r.Namespace).Create(ctx, p.Pods[0], options)
		if err == nil {
			p.Pods[0] = pod
		}
		return preflight.Refused("the sandbox's pod", err)
	})
	for i := range p.Policies {
		g.Go(func() error {
			policy, err := r.Core.NetworkingV1().NetworkPolicies(r.Namespace).Create(ctx, p.Policies[i], options)
			if err == nil {
				p.Policies[i] = policy
			}
			return preflight.Refused("the sandbox's NetworkPolicy", err)
		})
	}
	return p, g.Wait()
}

// preview is what a session writes, before the API server has seen it.
func (r *Runner) preview() (*Preview, error) {
	service, err := sandbox.Service(r.input)
	if err != nil {
		return nil, err
	}
	p := &Preview{Before: r.facts.Route, Live: r.facts.Route.DeepCopy(), Service: service, Pods: sandbox.Pods(r.input)}
	p.Policies = sandbox.Policies(r.input)
	if r.holdsDrains() {
		p.Budget = sandbox.Budget(r.input)
	}
	return p, nil
}

// holdsDrains says whether a guard sees cordoned nodes: only then may a drain be held up
// by the session, as somebody lets go.
func (r *Runner) holdsDrains() bool { return r.guard != nil && r.guard.Nodes }

// Preview is what a session would write.
type Preview struct {
	Before, Live *routev1.Route // as it is, and as it would be while the session is live
	Service      *corev1.Service
	Budget       *policyv1.PodDisruptionBudget // nil where no guard sees cordoned nodes
	Policies     []*networkingv1.NetworkPolicy // mirrored onto the sandbox
	Pods         []*corev1.Pod
	Share        float64 // 0..1
}

// DryRun plans a session and returns what it would write; with the server's judgement
// of every object when server is true.
func (r *Runner) DryRun(ctx context.Context, server bool) (*Preview, error) {
	facts, err := preflight.Gather(ctx, r.Core, r.Routes, r.Namespace, r.Options.Route)
	if err != nil {
		return nil, err
	}
	facts.Now = r.Clock.Now()
	if err := r.judge(facts); err != nil {
		return nil, err
	}
	r.facts, r.current = facts, facts.Route
	if err := r.findGuard(ctx); err != nil {
		r.Report.Warn(err)
	}
	if err := r.plan(); err != nil {
		return nil, err
	}
	judged := r.preview
	if server {
		judged = func() (*Preview, error) { return r.dryRun(ctx) }
	}
	p, err := judged()
	if err != nil {
		return nil, err
	}
	originals := route.Backends(facts.Route, facts.Servers())
	plan, err := route.Weights(originals, r.input.Replicas, r.Percent, r.Floor)
	if err != nil {
		return nil, fmt.Errorf("route %s/%s: %w", r.Namespace, r.Options.Route, err)
	}
	p.Share = plan.Share
	p.Live.Spec.To.Weight = &plan.Originals[0]
	p.Live.Spec.AlternateBackends = facts.Route.DeepCopy().Spec.AlternateBackends
	for i := range p.Live.Spec.AlternateBackends {
		p.Live.Spec.AlternateBackends[i].Weight = &plan.Originals[i+1]
	}
	p.Live.Spec.AlternateBackends = append(p.Live.Spec.AlternateBackends,
		routev1.RouteTargetReference{Kind: "Service", Name: p.Service.Name, Weight: &plan.Sandbox})
	return p, nil
}
