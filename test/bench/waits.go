package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	routev1 "github.com/openshift/api/route/v1"
	routeclient "github.com/openshift/client-go/route/clientset/versioned"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/osc-debug/osc-debug/test/haproxy"
	"github.com/osc-debug/osc-debug/test/sample"
)

// sessionTimes are the times at which a session passed certain points, as seen from outside.
type sessionTimes struct {
	created time.Time // the sandbox's pod was created
	reached time.Time // the router reloaded with the pod's server, at weight 0
	shifted time.Time // the Route's weights were patched
	served  time.Time // the router reloaded with these weights
}

// namePrefix is the prefix of the names of a session's objects.
const namePrefix = "osc-debug-"

// clients returns clients of the administrator.
func (b *bench) clients() (kubernetes.Interface, routeclient.Interface, error) {
	config, err := clientcmd.BuildConfigFromFlags("", filepath.Join(b.State, "admin.conf"))
	if err != nil {
		return nil, nil, err
	}
	core, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, nil, err
	}
	client, err := routeclient.NewForConfig(config)
	return core, client, err
}

// openWatches opens watches that start from the API server's cache, which is recent enough here.
func openWatches(ctx context.Context, label string, open ...func(context.Context, metav1.ListOptions) (watch.Interface, error)) (out []<-chan watch.Event, err error) {
	for _, o := range open {
		w, err := o(ctx, metav1.ListOptions{ResourceVersion: "0", LabelSelector: label})
		if err != nil {
			return nil, err
		}
		out = append(out, w.ResultChan())
	}
	return out, nil
}

// watchSession starts to watch the next session. The function that it returns waits until the sandbox
// serves traffic, and returns the times.
func (b *bench) watchSession() (func() (sessionTimes, error), error) {
	core, client, err := b.clients()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(b.ctx, 3*time.Minute)
	events, err := openWatches(ctx, "", core.CoreV1().Pods(sample.Namespace).Watch, client.RouteV1().Routes(sample.Namespace).Watch)
	if err != nil {
		cancel()
		return nil, err
	}
	type outcome struct {
		sessionTimes
		err error
	}
	done := make(chan outcome, 1)
	go func() {
		defer cancel()
		w, err := b.follow(ctx, events[0], events[1])
		done <- outcome{w, err}
	}()
	return func() (sessionTimes, error) {
		o := <-done
		return o.sessionTimes, o.err
	}, nil
}

// follow records a session's times from watch events and HAProxy's servers.
func (b *bench) follow(ctx context.Context, pods, routes <-chan watch.Event) (sessionTimes, error) {
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	var seen sessionTimes
	for seen.served.IsZero() {
		select {
		case <-ctx.Done():
			return seen, fmt.Errorf("watching the session: %w", context.Cause(ctx))
		case e := <-pods:
			if p, ok := e.Object.(*corev1.Pod); ok && e.Type == watch.Added && strings.HasPrefix(p.Name, namePrefix) {
				seen.created = time.Now()
			}
		case e := <-routes:
			if r, ok := e.Object.(*routev1.Route); ok && seen.shifted.IsZero() && sandboxWeight(r) > 0 {
				seen.shifted = time.Now()
			}
		case <-look.C:
			servers, err := haproxy.Servers(b.State, sample.Namespace, "echo-route")
			if err != nil {
				continue // the router is just reloading
			}
			for _, s := range servers {
				if !strings.HasPrefix(s.Pod(), namePrefix) {
					continue
				}
				if seen.reached.IsZero() {
					seen.reached = time.Now()
				}
				if s.Weight > 0 {
					seen.served = time.Now()
				}
			}
		}
	}
	return seen, nil
}

// sandboxWeight returns the weight of the sandbox's backend, 0 if there is none.
func sandboxWeight(r *routev1.Route) int32 {
	for _, b := range r.Spec.AlternateBackends {
		if strings.HasPrefix(b.Name, namePrefix) && b.Weight != nil {
			return *b.Weight
		}
	}
	return 0
}
