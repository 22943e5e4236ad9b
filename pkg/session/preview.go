package session

import (
	"context"
	"errors"
	"slices"

	routev1 "github.com/openshift/api/route/v1"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osc-debug/osc-debug/pkg/preflight"
	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/route"
	"github.com/osc-debug/osc-debug/pkg/session/record"
)

// Preview is what a session would write.
type Preview struct {
	Before, Live *routev1.Route // as it is, and as it would be while the session is live
	Service      *corev1.Service
	Budget       *policyv1.PodDisruptionBudget // nil if no guard watches for cordoned nodes
	Policies     []*networkingv1.NetworkPolicy // copied for the sandbox
	Pods         []*corev1.Pod
	Share        route.Share

	armed *routev1.Route
}

// DryRun plans a session and returns what it would write. If server is true, the API server checks
// every object by a dry run, and without --no-probe each router gets a request as users send it.
func (r *Runner) DryRun(ctx context.Context, server bool) (*Preview, error) {
	facts, err := preflight.Gather(ctx, r.Core, r.Routes, r.Namespace, r.Options.Route)
	if err != nil {
		return nil, err
	}
	facts.Now = r.Clock.Now()
	if err := r.judgeFacts(facts); err != nil {
		return nil, err
	}
	if err := r.findGuard(ctx); err != nil {
		r.Report.Warn(err)
	}
	if err := r.makePlan(ctx, facts); err != nil {
		return nil, err
	}
	var p *Preview
	if server {
		p, err = r.dryRun(ctx)
	} else {
		p = r.preview()
		p.armed, err = r.plan.Armed()
	}
	if err != nil {
		return nil, err
	}
	if p.Live, err = r.plan.Live(p.armed, metav1.NewTime(r.endTime(facts.Now))); err != nil {
		return nil, err
	}
	if server && !r.NoProbe {
		err = r.checkProof(ctx)
	}
	return p, err
}

// dryRun has the API server check everything that will be created, and patch 1. If a LimitRange
// rejects the pods, it changes the sidecar to comply and tries once more.
func (r *Runner) dryRun(ctx context.Context) (*Preview, error) {
	p, err := r.dryRunKeepingLabels(ctx)
	namespace, pods := r.plan.Facts.Namespace, len(r.plan.Pods)
	switch {
	case err == nil && pods == 1 && len(p.Policies) <= 1: // the dry runs have checked each object alone
		return p, nil
	case err != nil && !preflight.OfLimits(err):
		return nil, err
	}
	if limitsErr := namespace.Limits(ctx, r.Core); limitsErr != nil {
		return nil, errors.Join(err, limitsErr)
	}
	if fitErr := r.plan.Fit(namespace.Ranges); fitErr != nil {
		return nil, fitErr
	}
	if err != nil && len(namespace.Ranges) > 0 {
		p, err = r.dryRunKeepingLabels(ctx)
	}
	lines, tooMuch := preflight.Quota(namespace.Quotas, p.objects())
	for _, line := range lines {
		r.Report.Note("%s", line)
	}
	if err != nil {
		return nil, err
	}
	return p, tooMuch
}

// dryRunKeepingLabels is dryRunOnce. If a policy demands a label that was left off, it tries again with that label, and
// without others if that is possible.
func (r *Runner) dryRunKeepingLabels(ctx context.Context) (*Preview, error) {
	for {
		p, err := r.dryRunOnce(ctx)
		if e := reason.Of(err); e == nil || !e.Rights {
			return p, err
		}
		if changed, buildErr := r.plan.Need(err); buildErr != nil || !changed {
			return p, err
		}
		r.Report.Note("a policy demands a label that was left off; leaving off other labels instead")
	}
}

// objects counts what the session creates.
func (p *Preview) objects() preflight.Objects {
	o := preflight.Objects{Pod: p.Pods[0], Pods: len(p.Pods), Policies: len(p.Policies)}
	if p.Budget != nil {
		o.Budgets = 1
	}
	return o
}

// dryRunOnce returns the preview even if the API server rejects a part of it.
func (r *Runner) dryRunOnce(ctx context.Context) (*Preview, error) {
	p := r.preview()
	options := metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}, FieldManager: record.FieldManager}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		p.armed, err = r.CheckArm(ctx, p.Before, r.journal)
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
		// The pods differ only by name, so one check is enough.
		pod, err := r.Core.CoreV1().Pods(r.Namespace).Create(ctx, p.Pods[0], options)
		if err == nil {
			p.Pods[0] = pod
		}
		return preflight.Refused("the sandbox's pod", err)
	})
	if p.Budget != nil {
		g.Go(func() error {
			budget, err := r.Core.PolicyV1().PodDisruptionBudgets(r.Namespace).Create(ctx, p.Budget, options)
			if err == nil {
				p.Budget = budget
			}
			return preflight.Refused("the sandbox's PodDisruptionBudget", err)
		})
	}
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

// preview returns the plan's objects, before the API server has seen them.
func (r *Runner) preview() *Preview {
	p := r.plan
	return &Preview{
		Before: p.Facts.Route, Service: p.Service, Budget: p.Budget, Policies: slices.Clone(p.Policies), Pods: slices.Clone(p.Pods),
		Share: p.Split.Share,
	}
}
