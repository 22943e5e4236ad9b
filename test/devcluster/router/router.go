// Package router is the development router. It configures a real HAProxy from Routes, Services and
// EndpointSlices as OpenShift's router does, with respect to weights, endpoints, cookies, balance,
// health checks, TLS, paths, admission, the minimum reload interval and the dynamic configuration manager. It
// does not implement idled Services, allow lists, rate limits and header rewriting. It
// imports no product code, so tests can use it to judge the product.
package router

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	routev1 "github.com/openshift/api/route/v1"
	routeclient "github.com/openshift/client-go/route/clientset/versioned"
	routeinformers "github.com/openshift/client-go/route/informers/externalversions"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
)

// Options configure the router.
type Options struct {
	Kubeconfig       string
	Name             string // under which it writes a Route's status
	Namespace        string // whose Routes it serves, "" for all
	HAProxy          string // the program
	Dynamic          bool   // change endpoints without a reload: needs HAProxy 3.0
	Dir              string // configuration and sockets
	Address          string // to listen on, ports 80 and 443
	Certificate, Key string // default certificate, PEM files
	ReloadInterval   time.Duration
}

// Run serves Routes until the context ends.
func Run(ctx context.Context, o Options) error {
	w, err := o.writer()
	if err != nil {
		return err
	}
	config, err := clientcmd.BuildConfigFromFlags("", o.Kubeconfig)
	if err != nil {
		return err
	}
	config.QPS, config.Burst = 200, 400
	routes, err := routeclient.NewForConfig(config)
	if err != nil {
		return err
	}
	core, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	if err := waitForRoutes(ctx, routes); err != nil {
		return err
	}
	changed := make(chan struct{}, 1)
	notify := func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	handler := cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { notify() }, UpdateFunc: func(_, _ any) { notify() }, DeleteFunc: func(any) { notify() },
	}
	routeFactory := routeinformers.NewSharedInformerFactoryWithOptions(routes, 0, routeinformers.WithNamespace(o.Namespace))
	coreFactory := informers.NewSharedInformerFactoryWithOptions(core, 0, informers.WithNamespace(o.Namespace))
	routeInformer := routeFactory.Route().V1().Routes()
	sliceInformer := coreFactory.Discovery().V1().EndpointSlices()
	for _, i := range []cache.SharedIndexInformer{routeInformer.Informer(), sliceInformer.Informer()} {
		if _, err := i.AddEventHandler(handler); err != nil {
			return err
		}
	}
	routeFactory.Start(ctx.Done())
	coreFactory.Start(ctx.Done())
	cache.WaitForCacheSync(ctx.Done(), routeInformer.Informer().HasSynced, sliceInformer.Informer().HasSynced)
	slices := func(namespace, service string) []*discoveryv1.EndpointSlice {
		found, err := sliceInformer.Lister().EndpointSlices(namespace).List(labels.SelectorFromSet(labels.Set{discoveryv1.LabelServiceName: service}))
		if err != nil {
			return nil // a lister over a cache has no errors
		}
		return found
	}
	h := &haproxy{command: o.HAProxy, config: w.path("haproxy.cfg"), socket: w.path("haproxy.sock"), pidFile: w.path("haproxy.pid")}
	defer h.stop()
	d := &dynamic{socket: h.socket}
	notify()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
		all, err := routeInformer.Lister().List(labels.Everything())
		if err != nil {
			return err
		}
		backends, verdicts := resolve(all, slices)
		begin := time.Now()
		forced := false
		if o.Dynamic {
			if forced, err = d.needsReload(backends); err != nil {
				return err
			}
			if !forced {
				if err = d.apply(w, backends); err == nil {
					writeStatus(ctx, routes, o.Name, verdicts)
					continue
				}
				slog.Error("cannot change the running process; reloading", "error", err)
				forced = true
			}
		}
		different, err := w.write(backends)
		if err != nil {
			return err
		}
		if different = different || forced; different {
			if err := h.reload(); err != nil {
				slog.Error("reload", "error", err)
				os.Remove(w.path("haproxy.cfg")) // so that the next round writes it and reloads again
				d.running = nil
				notify()
			} else {
				slog.Info("reloaded", "routes", len(backends))
				if err := d.reloaded(backends); err != nil {
					return err
				}
			}
		}
		writeStatus(ctx, routes, o.Name, verdicts)
		if different {
			// OpenShift's router starts at most one reload per reload interval: measured, a change
			// right after a reload was served 5.04 s later.
			select {
			case <-ctx.Done():
			case <-time.After(time.Until(begin.Add(o.ReloadInterval))):
			}
		}
	}
}

// resolve returns the backends of the admitted Routes and the verdicts on all Routes.
func resolve(all []*routev1.Route, slices slicesOf) ([]backend, []verdict) {
	var backends []backend
	verdicts := admit(all)
	for _, v := range verdicts {
		if v.reason == "" {
			backends = append(backends, newBackend(v.route, slices))
		}
	}
	return backends, verdicts
}

// writeStatus writes this router's entry into the status of the Routes where it has changed.
func writeStatus(ctx context.Context, client routeclient.Interface, router string, verdicts []verdict) {
	for _, v := range verdicts {
		status, changed := v.status(router, metav1.Now())
		if !changed {
			continue
		}
		route := v.route.DeepCopy()
		route.Status = status
		if _, err := client.RouteV1().Routes(route.Namespace).UpdateStatus(ctx, route, metav1.UpdateOptions{FieldManager: "router"}); err != nil {
			slog.Warn("cannot write status, retrying at the next event", "route", route.Namespace+"/"+route.Name, "error", err)
		}
	}
}

// waitForRoutes waits until the API server serves Routes.
func waitForRoutes(ctx context.Context, client routeclient.Interface) error {
	for {
		_, err := client.RouteV1().Routes("default").List(ctx, metav1.ListOptions{Limit: 1})
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the API server to serve Routes: %w", err)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// writer returns a writer, and writes its folder and default certificate.
func (o Options) writer() (writer, error) {
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return writer{}, err
	}
	var pem []byte
	for _, file := range []string{o.Certificate, o.Key} {
		data, err := os.ReadFile(file)
		if err != nil {
			return writer{}, err
		}
		pem = append(pem, data...)
	}
	w := writer{dir: o.Dir, address: o.Address, certificate: filepath.Join(o.Dir, "default.pem"),
		serviceCA: filepath.Join(filepath.Dir(o.Certificate), "ca.crt"), dynamic: o.Dynamic}
	return w, os.WriteFile(w.certificate, pem, 0o600)
}
