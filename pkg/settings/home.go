package settings

import (
	"context"
	"fmt"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/osc-debug/osc-debug/pkg/reason"
)

// Namespace Home is believed in the whole cluster only if it has this label. Where nobody has installed a
// guard, anyone may request a project with this name on OpenShift. Someone who requests a project cannot
// set or change the labels of its namespace: only cluster administrators can.
const (
	TrustLabel = "osc-debug.dev/home"
	Trusted    = "trusted"
)

// requester is an annotation that OpenShift sets on a project that someone requested. That person is the
// project's administrator, also after a cluster administrator has applied the manifests to it.
const requester = "openshift.io/requester"

// Trust checks that namespace Home is trusted, and remembers if it is: a command reads the namespace once. A
// nil Trust reads it each time.
type Trust struct{ trusted atomic.Bool }

// Check returns an error with reason HomeNotTrusted if namespace home is Home, but was not set up by a
// cluster administrator. A team's own namespace is trusted as the team is. If the namespace cannot be read,
// the error is the API server's.
func (t *Trust) Check(ctx context.Context, core kubernetes.Interface, home string) error {
	if home != Home || t != nil && t.trusted.Load() {
		return nil
	}
	err := checkHome(ctx, core, home)
	if t != nil && err == nil {
		t.trusted.Store(true)
	}
	return err
}

func checkHome(ctx context.Context, core kubernetes.Interface, home string) error {
	ns, err := core.CoreV1().Namespaces().Get(ctx, home, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("read namespace %s: %w", home, err)
	}
	if ns.Labels[TrustLabel] != Trusted {
		return reason.New(reason.HomeNotTrusted, "home", home, "why", "it does not have label "+TrustLabel+"="+Trusted)
	}
	return checkRequester(ns)
}

// CheckBeforeInstall returns an error with reason HomeNotTrusted if someone requested project Home.
// Applying the manifests to it would mark it as trusted, with settings that the requester may have put there. It returns nil if that cannot be read.
func CheckBeforeInstall(ctx context.Context, core kubernetes.Interface) error {
	ns, err := core.CoreV1().Namespaces().Get(ctx, Home, metav1.GetOptions{})
	if err != nil {
		return nil
	}
	return checkRequester(ns)
}

func checkRequester(ns *corev1.Namespace) error {
	if by := ns.Annotations[requester]; by != "" {
		return reason.New(reason.HomeNotTrusted, "home", ns.Name, "why", "user "+by+" requested it as a project")
	}
	return nil
}
