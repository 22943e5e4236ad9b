// Package plan computes everything that a session will write from what was read, and returns it as
// a value. It does not talk to a cluster. A session, its dry run, 'weight' and doctor use the same
// plan.
package plan

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
	"unicode"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osc-debug/osc-debug/pkg/preflight"
	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/route"
	"github.com/osc-debug/osc-debug/pkg/sandbox"
	"github.com/osc-debug/osc-debug/pkg/session/record"
	"github.com/osc-debug/osc-debug/pkg/workload"
)

// MaxReplicas and LoadFactor bound a sandbox. It gets enough pods that none has more than
// LoadFactor times the current load of an original pod, and at most MaxReplicas. Request.Replicas
// overrides both.
const (
	MaxReplicas = 5
	LoadFactor  = 1.5
)

// Request holds the settings of a session that its plan depends on.
type Request struct {
	Namespace, Route string
	Percent          route.Percent
	Steps            []route.Percent // shares in order, Percent first; nil: only Percent
	Floor            route.Floor
	Workload         string // KIND/NAME that the pods must belong to; "": any
	Container        string // to trace; "": chosen automatically
	RuntimeClass     string
	Image            string   // of the sidecar
	Replicas         int      // 0: as many as the largest share needs
	Annotations      []string // domains of annotations that the administrator allows the sandbox
	Record           []string // names of the gadgets that the sandbox records from birth
	Changes          sandbox.Changes
	Routers          []string // addresses to send probes to; none: the Route's host
	NoProbe          bool
	Force            bool // start a session even if that is unwise
	Detach           bool // leave the live session to the guard
	TTL              time.Duration
}

// Guard is what a plan depends on of the guard that looks after the session.
type Guard struct {
	Nodes bool // it watches for cordoned nodes
	Shape int  // newest shape of sandbox pods that it recognises
}

// NoGuard is used where no guard looks after the session.
var NoGuard = Guard{Shape: record.PodShape}

// Plan is everything that a session will write.
type Plan struct {
	Facts     *preflight.Facts
	Input     sandbox.Input
	Container string         // to trace
	Journal   record.Journal // before arming, which adds the Route's backends

	Service  *corev1.Service
	Budget   *policyv1.PodDisruptionBudget // nil if no guard watches for cordoned nodes
	Policies []*networkingv1.NetworkPolicy // copied for the sandbox
	Pods     []*corev1.Pod

	Split    route.Split // weights once it is live, by the current endpoints
	Floor    route.Floor
	Warnings []error  // for the user, before the session starts
	Notes    []string // how the sandbox differs from the original
}

// Make plans a session, or refuses it with an error. armFor is how long preparing the session may
// take.
func Make(f *preflight.Facts, q Request, guard Guard, armFor time.Duration) (*Plan, error) {
	p := &Plan{Facts: f, Floor: q.Floor}
	program, err := p.findProgram(q)
	if err != nil {
		return nil, err
	}
	originals := f.Backends()
	replicas, err := chooseReplicas(q, originals, f.Route.Spec.To.Name, program)
	if err != nil {
		return nil, err
	}
	p.Input = sandbox.Input{
		Session: record.NewID(), Route: f.Route, Program: program, Service: f.Namespace.Service(f.Route.Spec.To.Name),
		Selectors: f.Namespace.Selectors(), Policies: f.Namespace.Policies,
		RuntimeClass: q.RuntimeClass, Image: q.Image, Replicas: replicas, AnnotationDomains: q.Annotations, Changes: q.Changes,
	}
	if err := p.Input.CheckChanges(); err != nil {
		return nil, err
	}
	if !q.Changes.SeparatePIDs { // the recorder would see only the sidecar
		p.Input.Record = q.Record
	}
	if p.Container, err = sandbox.Container(p.Input, q.Container); err != nil {
		return nil, err
	}
	p.Input.Traced = p.Container
	if err := p.refuseSelected(q.Force); err != nil {
		return nil, err
	}
	probed := len(q.Routers)
	if probed == 0 {
		probed = len(route.Hosts(f.Route, "")) // each leads to a router
	}
	if err := preflight.Unproven(f.Route, probed); err != nil && !q.NoProbe {
		if err := p.refuseUnlessForced(q.Force, err); err != nil {
			return nil, err
		}
	}
	p.advise(q)
	p.Journal = record.Journal{
		Version: record.JournalVersion, Session: p.Input.Session, State: record.Arming, RouteUID: string(f.Route.UID), User: record.CutText(f.User),
		Workload: record.CutText(program.String()), Servers: f.Servers()[f.Route.Spec.To.Name], Pods: replicas, Shape: record.ShapeFor(guard.Shape), Asked: q.Percent,
		ArmBy: metav1.NewTime(f.Now.Add(armFor).Truncate(time.Second)),
	}
	if p.Split, err = route.Weights(originals, replicas*serversPerPod(originals[0]), q.Percent, q.Floor); err != nil {
		return nil, fmt.Errorf("route %s/%s: %w", f.Route.Namespace, f.Route.Name, err)
	}
	if guard.Nodes {
		p.Budget = sandbox.Budget(p.Input)
	}
	return p, p.buildObjects()
}

// findProgram returns the workload to clone, and refuses one that cannot run twice.
func (p *Plan) findProgram(q Request) (*workload.Program, error) {
	program, err := workload.Find(p.Facts.Route, p.Facts.Namespace, q.Workload)
	if err != nil {
		return nil, err
	}
	if err := preflight.Unclonable(program, p.Facts.Namespace, q.Changes.EmptyVolumes); err != nil {
		return nil, err
	}
	for _, risk := range preflight.Risks(program, p.Facts.Namespace, q.Changes) {
		if err := p.refuseUnlessForced(q.Force, risk); err != nil {
			return nil, err
		}
	}
	return program, nil
}

// buildObjects builds the Service, the pods and the NetworkPolicies.
func (p *Plan) buildObjects() (err error) {
	if p.Service, err = sandbox.Service(p.Input); err != nil {
		return err
	}
	p.Pods, p.Policies = sandbox.Pods(p.Input), sandbox.Policies(p.Input)
	return nil
}

// Need rebuilds the objects so that the sandbox keeps a label that the API server's rejection names, if it can drop
// others instead. It returns false if that changes nothing.
func (p *Plan) Need(rejection error) (bool, error) {
	_, dropped, _ := p.Input.Labels()
	for _, key := range slices.Sorted(maps.Keys(dropped)) {
		if !namesKey(rejection.Error(), key) || slices.Contains(p.Input.NeededLabels, key) {
			continue
		}
		p.Input.NeededLabels = append(p.Input.NeededLabels, key)
		if _, now, _ := p.Input.Labels(); !maps.Equal(now, dropped) {
			return true, p.buildObjects()
		}
	}
	return false, nil
}

// namesKey reports whether a text contains a label's key as a word of its own.
func namesKey(text, key string) bool {
	inKey := func(r rune) bool {
		return r == '-' || r == '.' || r == '/' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r)
	}
	return slices.Contains(strings.FieldsFunc(text, func(r rune) bool { return !inKey(r) }), key)
}

// Fit rebuilds the objects so that the pods comply with LimitRanges.
func (p *Plan) Fit(ranges []corev1.LimitRange) error {
	p.Input.Ranges = ranges
	return p.buildObjects()
}

// refuseUnlessForced returns the refusal. With force it adds it to the warnings and returns nil.
func (p *Plan) refuseUnlessForced(force bool, refusal error) error {
	if !force {
		return refusal
	}
	p.Warnings = append(p.Warnings, &reason.Forced{Refused: refusal})
	return nil
}

// serversPerPod returns how many servers of the Route a pod of a backend is, as the sandbox's pods will be.
func serversPerPod(b route.Backend) int {
	return max(1, int(math.Round(float64(b.Ready)/float64(max(1, b.Pods)))))
}

// chooseReplicas returns how many pods the largest requested share needs.
func chooseReplicas(q Request, originals []route.Backend, primary string, program *workload.Program) (int, error) {
	if q.Replicas > 0 {
		return q.Replicas, nil
	}
	most := q.Percent
	for _, step := range q.Steps {
		most = max(most, step)
	}
	load := route.Load(originals, primary, most)
	n := max(int(math.Ceil(load/LoadFactor)), 1)
	if n > MaxReplicas {
		return 0, reason.New(reason.TooMuchLoad, "workload", program, "percent", fmt.Sprintf("%g", float64(most)), "load", fmt.Sprintf("%.1f", load),
			"pods", MaxReplicas, "possible", int(float64(most)*MaxReplicas*LoadFactor/load))
	}
	return n, nil
}
