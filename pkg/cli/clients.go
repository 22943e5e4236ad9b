package cli

import (
	"context"
	"io"
	"os"

	"k8s.io/client-go/rest"

	"github.com/osc-debug/osc-debug/pkg/kube"
	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/session"
	"github.com/osc-debug/osc-debug/pkg/session/store"
	"github.com/osc-debug/osc-debug/pkg/settings"
)

// clients are the caller's access to the cluster and to one namespace of it.
type clients struct {
	store.Store
	config    *rest.Config
	namespace string
	clock     *kube.Clock
	trust     *settings.Trust
}

func (a *app) clients() (*clients, error) {
	config, err := a.flags.ToRESTConfig()
	if err != nil {
		return nil, reason.New(reason.NoCluster, "why", err)
	}
	namespace, _, err := a.flags.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return nil, err
	}
	c := &clients{namespace: namespace, clock: &kube.Clock{}, trust: &settings.Trust{}}
	config.UserAgent = "osc-debug/" + version
	config.QPS, config.Burst = 50, 100
	// Warnings of the API server (deprecated fields of the workload's own template) are
	// for the workload's owner, not for this session.
	config.WarningHandler = rest.NoWarnings{}
	c.Outage = &kube.Outage{}
	config = kube.Wrap(config, c.clock, c.Outage)
	c.config = config
	c.Core, c.Routes, err = kube.Clients(config)
	return c, err
}

// finder looks for sessions in the namespace.
func (c *clients) finder() session.Finder {
	return session.Finder{Store: c.Store, Namespace: c.namespace}
}

// running returns what to trace in a live or held session: the container, "" for the program that the Route leads to.
func (c *clients) running(ctx context.Context, route, id, container string) (session.Target, error) {
	found, err := c.finder().Running(ctx, route, id)
	if err != nil {
		return session.Target{}, err
	}
	return session.TargetOf(ctx, c.Core, found, container)
}

// settings are the administrator's; the defaults where there are none to be read.
func (c *clients) settings(ctx context.Context) (settings.Settings, error) {
	return settings.Find(ctx, c.Core, c.trust, c.namespace)
}

// showsColor says whether a stream shows colours: on a terminal, unless NO_COLOR is set.
func showsColor(w io.Writer) bool {
	return os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && isTerminal(w)
}
