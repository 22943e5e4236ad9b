package shift

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"

	"github.com/osc-debug/osc-debug/pkg/route"
	"github.com/osc-debug/osc-debug/pkg/sandbox"
	"github.com/osc-debug/osc-debug/pkg/session"
)

// Timeout is the error of a wait that took too long.
type Timeout struct {
	What string
	Took time.Duration
}

func (e *Timeout) Error() string { return fmt.Sprintf("%s: gave up after %s", e.What, e.Took) }

// build creates Service, disruption budget and pods, and waits until every pod is an endpoint that the
// router would use: readiness of a pod alone does not say that.
func (r *Runner) build(ctx context.Context) error {
	service, err := sandbox.Service(r.input)
	if err != nil {
		return err
	}
	options := metav1.CreateOptions{FieldManager: session.FieldManager}
	core := r.Core.CoreV1()
	err = create("Service "+service.Name, func() error {
		_, err := core.Services(r.Namespace).Create(ctx, service, options)
		return err
	})
	if err != nil {
		return err
	}
	if r.holdsDrains() {
		budget := sandbox.Budget(r.input)
		err := create("PodDisruptionBudget "+budget.Name, func() error {
			_, err := r.Core.PolicyV1().PodDisruptionBudgets(r.Namespace).Create(ctx, budget, options)
			return err
		})
		if err != nil {
			return err
		}
	}
	var made []corev1.Pod
	for _, pod := range sandbox.Pods(r.input) {
		err := create("pod "+pod.Name, func() error {
			created, err := core.Pods(r.Namespace).Create(ctx, pod, options)
			if err == nil {
				made = append(made, *created)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	if len(made) < r.input.Replicas {
		made = nil // one was there already: list them
	}
	// The watches outlive this step's context on purpose: Run stops them.
	w, err := watchSession(context.WithoutCancel(ctx), r.Core, r.Routes, r.current, made, r.journal.Session)
	if err != nil {
		return err
	}
	r.watcher = w
	return r.waitReady(ctx)
}

// create makes an object by its name, and again where it is not known whether it was made.
// One that is there already is ours: its name is this session's ID.
func create(what string, do func() error) error {
	err := retry.OnError(retry.DefaultBackoff, session.Retriable, do)
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("create %s: %w", what, err)
	}
	return nil
}

func (r *Runner) waitReady(ctx context.Context) error {
	begin := time.Now()
	deadline := time.NewTimer(r.Timeout)
	defer deadline.Stop()
	said := ""
	for {
		if n := len(r.endpoints()); n >= r.input.Replicas {
			r.Report.Note("ready after %.1f s", time.Since(begin).Seconds())
			return nil
		}
		if now := r.podNews(); now != said && now != "" {
			said = now
			r.Report.Note("%s", now)
		}
		if err := r.dead(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-deadline.C:
			return &Timeout{fmt.Sprintf("sandbox of %s: not ready (%s)", r.input.Program, said), r.Timeout}
		case <-r.watcher.changed:
		}
	}
}

// endpoints are the sandbox's servers as the router sees them.
func (r *Runner) endpoints() []route.Endpoint {
	if r.watcher == nil {
		return nil
	}
	return route.Endpoints(r.current, session.ServiceName(r.journal.Session), r.watcher.endpointSlices())
}

// podNews tells in a line what the pods wait for.
func (r *Runner) podNews() string {
	var lines []string
	for _, pod := range r.watcher.podList() {
		news := string(pod.Status.Phase)
		for _, c := range pod.Status.Conditions {
			if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
				news = c.Reason + ": " + c.Message
			}
		}
		for _, s := range append(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses...) {
			if w := s.State.Waiting; w != nil && w.Reason != "PodInitializing" && w.Reason != "ImagePullBackOff" {
				news = fmt.Sprintf("container %s: %s %s", s.Name, w.Reason, w.Message)
			}
		}
		lines = append(lines, fmt.Sprintf("%s: %s", pod.Name, strings.TrimSpace(news)))
	}
	sort.Strings(lines)
	return strings.Join(lines, "; ")
}

// dead says that a pod ended: it is never started again, so that the crash can be seen.
func (r *Runner) dead() error {
	for _, pod := range r.watcher.podList() {
		for _, s := range pod.Status.ContainerStatuses {
			if t := s.State.Terminated; t != nil {
				return fmt.Errorf("sandbox pod %s: container %s ended with code %d (%s): its last words: 'oc logs -n %s %s -c %s'",
					pod.Name, s.Name, t.ExitCode, t.Reason, r.Namespace, pod.Name, s.Name)
			}
		}
		if pod.Status.Phase == corev1.PodFailed {
			return fmt.Errorf("sandbox pod %s failed: %s %s", pod.Name, pod.Status.Reason, pod.Status.Message)
		}
		if pod.DeletionTimestamp != nil {
			return fmt.Errorf("sandbox pod %s: somebody deletes it", pod.Name)
		}
	}
	return nil
}

// Expired says that a session's time to live is over.
type Expired struct{ TTL time.Duration }

func (e *Expired) Error() string {
	return fmt.Sprintf("the session's time to live, %s, is over", e.TTL)
}

// live lets the caller work with the sandbox until its time is over or it fails.
func (r *Runner) live(ctx context.Context) error {
	if r.Detach {
		return nil
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r.target.Pods = r.containerIDs()
	traced := make(chan struct{})
	go func() {
		defer close(traced)
		if r.OnLive == nil {
			return
		}
		if err := r.OnLive(ctx, r.target); err != nil && ctx.Err() == nil {
			r.Report.Warn("%v", err)
		}
	}()
	err := r.watchLive(ctx)
	cancel(err)
	<-traced
	return err
}

// containerIDs are the runtime's IDs of the traced container, by pod.
func (r *Runner) containerIDs() map[string]string {
	out := map[string]string{}
	for _, pod := range r.watcher.podList() {
		out[pod.Name] = sandbox.ContainerID(pod, r.target.Container)
	}
	return out
}

func (r *Runner) watchLive(ctx context.Context) error {
	expires := r.journal.Expires.Time
	forEnd := time.Time{}
	if r.For > 0 {
		forEnd = r.Clock.Now().Add(r.For)
	}
	told := ""
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		now := r.Clock.Now()
		switch {
		case !forEnd.IsZero() && !now.Before(forEnd):
			return nil
		case !now.Before(expires):
			return &Expired{r.TTL}
		}
		left := expires.Sub(now)
		if !forEnd.IsZero() {
			left = min(left, forEnd.Sub(now))
		}
		timer.Reset(left)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
			continue
		case <-r.watcher.changed:
		}
		if err := r.dead(); err != nil {
			return &Unready{err}
		}
		if len(r.endpoints()) == 0 {
			return &Unready{errors.New("the sandbox is no longer ready: its traffic goes back")}
		}
		s, err := r.onRoute()
		if err != nil {
			return err
		}
		if s == nil {
			r.Report.Warn("somebody took the session off the Route: ending it")
			return nil
		}
		if s.Journal != nil && !s.Journal.Expires.IsZero() {
			expires = s.Journal.Expires.Time // somebody may have extended it
		}
		if now := r.foreign(s); now != told && now != "" {
			told = now
			r.Report.Warn("somebody %s: it stays so, and is not fought", now)
		}
	}
}

// foreign tells what others changed of the live session's weights.
func (r *Runner) foreign(s *session.Session) string {
	route, seen := r.watcher.currentRoute()
	if !seen || route == nil || s.Journal == nil || s.State != session.Live {
		return ""
	}
	return strings.Join(session.Changed(route, s.Journal), ", ")
}

// onRoute is this session as its Route was last seen; nil when it is no longer on it. A
// held session is the error Unready.
func (r *Runner) onRoute() (*session.Session, error) {
	route, seen := r.watcher.currentRoute()
	if !seen {
		return &session.Session{}, nil
	}
	switch s := sessionOf(route); {
	case s == nil || s.ID != r.journal.Session || !s.Backend:
		return nil, nil
	case s.State == session.Held:
		return nil, &Unready{errors.New("the guard found the sandbox not ready and gave its traffic back")}
	default:
		return s, nil
	}
}
