package shift

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	routev1 "github.com/openshift/api/route/v1"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osc-debug/osc-debug/pkg/preflight"
	"github.com/osc-debug/osc-debug/pkg/route"
	"github.com/osc-debug/osc-debug/pkg/sandbox"
	"github.com/osc-debug/osc-debug/pkg/session"
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
	program, err := workload.Find(r.facts.Route, r.facts.Namespace, r.Workload)
	if err != nil {
		return &preflight.Refusal{Check: "workload", Cause: err}
	}
	if err := preflight.Unclonable(program); err != nil {
		return err
	}
	if r.Replicas, err = replicas(r.Options, program); err != nil {
		return &preflight.Refusal{Check: "replicas", Cause: err}
	}
	id := session.NewID()
	r.input = sandbox.Input{
		Session: id, Route: r.facts.Route, Program: program, Service: r.facts.Namespace.Service(r.facts.Route.Spec.To.Name),
		Selectors: r.facts.Namespace.Selectors, RuntimeClass: r.RuntimeClass, Image: r.Image, Replicas: r.Replicas,
	}
	container, err := sandbox.Container(r.input, r.Container)
	if err != nil {
		return &preflight.Refusal{Check: "container", Cause: err}
	}
	_, dropped, caught := r.input.Labels()
	if len(caught) > 0 {
		return &preflight.Refusal{Check: "labels", Cause: fmt.Errorf("%s: %v select(s) every pod of namespace %s and would select the sandbox too", program, caught, r.Namespace),
			Mend: "give it a selector of its own"}
	}
	for k, v := range dropped {
		r.Report.Note("label %s=%s is left off the sandbox, or something else here would select it", k, v)
	}
	for _, c := range program.Spec.InitContainers {
		r.Report.Note("init container %s runs again in the sandbox", c.Name)
	}
	if len(r.facts.Namespace.Unreadable) > 0 {
		r.Report.Warn("you may not list %s here: whether one of them selects the sandbox is not known", strings.Join(r.facts.Namespace.Unreadable, ", "))
	}
	r.target = Target{Session: id, Namespace: r.Namespace, Container: container}
	now := r.Clock.Now()
	r.journal = &session.Journal{
		Version: session.JournalVersion, Session: id, State: session.Arming, RouteUID: string(r.facts.Route.UID), User: r.facts.User,
		Workload: program.String(), Asked: r.Percent,
		ArmBy: metav1.NewTime(now.Add(r.Timeout + r.proveWithin() + r.baselineWait() + armTime).Truncate(time.Second)),
	}
	return nil
}

// replicas chooses how many pods carry the wanted share.
func replicas(o Options, p *workload.Program) (int, error) {
	if o.Replicas > 0 {
		return o.Replicas, nil
	}
	load := o.Percent / 100 * float64(p.Ready) / loadFactor
	n := max(int(load), 1)
	if float64(n) < load {
		n++
	}
	if n > maxReplicas {
		fits := 100 * maxReplicas * loadFactor / float64(p.Ready)
		return 0, fmt.Errorf("%s: %g %% of what %d pods carry is too much for %d sandbox pods: ask for --weight %d, or give --replicas",
			p, o.Percent, p.Ready, maxReplicas, int(fits))
	}
	return n, nil
}

// dryRun has the API server judge everything that will be created and the first patch.
func (r *Runner) dryRun(ctx context.Context) (*Preview, error) {
	p, err := r.preview()
	if err != nil {
		return nil, err
	}
	options := metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}, FieldManager: session.FieldManager}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		p.Live, err = r.CheckArm(ctx, r.facts.Route, r.journal)
		return refused("the Route's patch", err)
	})
	g.Go(func() (err error) {
		p.Service, err = r.Core.CoreV1().Services(r.Namespace).Create(ctx, p.Service, options)
		return refused("the sandbox's Service", err)
	})
	g.Go(func() error {
		// The pods differ by name only: one is judged.
		pod, err := r.Core.CoreV1().Pods(r.Namespace).Create(ctx, p.Pods[0], options)
		if err != nil {
			return refused("the sandbox's pod", err)
		}
		p.Pods[0] = pod
		return nil
	})
	return p, g.Wait()
}

// preview is what a session writes, before the API server has seen it.
func (r *Runner) preview() (*Preview, error) {
	service, err := sandbox.Service(r.input)
	if err != nil {
		return nil, err
	}
	p := &Preview{Before: r.facts.Route, Live: r.facts.Route.DeepCopy(), Service: service, Pods: sandbox.Pods(r.input)}
	if r.holdsDrains() {
		p.Budget = sandbox.Budget(r.input)
	}
	return p, nil
}

// holdsDrains says whether a guard sees cordoned nodes: only then may a drain be held up
// by the session, as somebody lets go.
func (r *Runner) holdsDrains() bool { return r.guard != nil && r.guard.Nodes }

// meanings of refusals that people meet often, by a part of the API server's words.
var meanings = []struct{ words, mend string }{
	{"violates PodSecurity", "a namespace that holds sandboxes needs label pod-security.kubernetes.io/enforce=privileged; the sandbox policy still refuses every other privileged pod"},
	{"unable to validate against any security context constraint", "you have no grant to use SCC osc-debug-kata: ask a cluster administrator for it (manifests/rbac)"},
	{"RuntimeClass", "the cluster has no such RuntimeClass: install OpenShift sandboxed containers, or name another with --runtime-class"},
	{"exceeded quota", "free some of the namespace's quota, or ask for more"},
	{"cannot set an ownerRef", "you lack a right that owner references need: role edit has it"},
	{"custom-host", "the Route's host or certificate is protected: ask for permission routes/custom-host"},
}

func refused(what string, err error) error {
	if err == nil {
		return nil
	}
	if other := (*session.InSession)(nil); errors.As(err, &other) {
		return err // somebody was faster: no judgement of the API server's
	}
	refusal := &preflight.Refusal{Check: "dry run", Cause: fmt.Errorf("the API server refuses %s: %w", what, err), Rights: apierrors.IsForbidden(err)}
	for _, m := range meanings {
		if strings.Contains(err.Error(), m.words) {
			refusal.Mend = m.mend
			break
		}
	}
	return refusal
}

// Preview is what a session would write.
type Preview struct {
	Before, Live *routev1.Route // as it is, and as it would be while the session is live
	Service      *corev1.Service
	Budget       *policyv1.PodDisruptionBudget // nil where no guard sees cordoned nodes
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
	if err := preflight.Judge(facts); err != nil {
		return nil, err
	}
	r.facts, r.current = facts, facts.Route
	if err := r.findGuard(ctx); err != nil {
		r.Report.Warn("%v", err)
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
