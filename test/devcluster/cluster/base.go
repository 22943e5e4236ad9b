package cluster

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/osc-debug/osc-debug/test/devcluster/image"
	"github.com/osc-debug/osc-debug/test/devcluster/topology"
)

//go:embed base.yaml
var baseYAML []byte

// client returns the administrator's client configuration and client.
func client(d topology.Dirs) (*rest.Config, *kubernetes.Clientset, error) {
	config, err := clientcmd.BuildConfigFromFlags("", d.In("admin.conf"))
	if err != nil {
		return nil, nil, err
	}
	config.QPS, config.Burst = 100, 200
	config.Timeout = 20 * time.Second
	set, err := kubernetes.NewForConfig(config)
	return config, set, err
}

// waitAPI waits until the API server is ready.
func (spec Spec) waitAPI(ctx context.Context) error {
	_, set, err := client(spec.Dirs)
	if err != nil {
		return err
	}
	err = wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, 90*time.Second, true, func(ctx context.Context) (bool, error) {
		_, err := set.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
		return err == nil, nil
	})
	if err != nil {
		return fmt.Errorf("API server: %w%s%s", err, tail(spec.Dirs, "kube-apiserver"), tail(spec.Dirs, "supervise"))
	}
	return nil
}

// applyBase creates what OpenShift has and Kubernetes lacks: the Route resource, a role edit that
// covers Routes, and RuntimeClass kata.
func applyBase(ctx context.Context, d topology.Dirs, source string) error {
	config, _, err := client(d)
	if err != nil {
		return err
	}
	crd, err := routeCRD(ctx, source)
	if err != nil {
		return err
	}
	return Apply(ctx, config, append(append(crd, []byte("\n---\n")...), baseYAML...))
}

// routeCRD returns OpenShift's definition of the Route from OpenShift's API module, which the module
// in folder source requires.
func routeCRD(ctx context.Context, source string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "go", "mod", "download", "-json", "github.com/openshift/api")
	cmd.Dir = source
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("find the module github.com/openshift/api: %w", err)
	}
	var module struct{ Dir string }
	if err := json.Unmarshal(out, &module); err != nil {
		return nil, err
	}
	return os.ReadFile(filepath.Join(module.Dir, "route", "v1", "zz_generated.crd-manifests", "routes.crd.yaml"))
}

// prepull makes the VM node pull the sidecar image, which takes about 15 s in an emulated guest.
// Clusters on which sessions should start fast do the same.
func prepull(ctx context.Context, d topology.Dirs) error {
	ref, err := os.ReadFile(image.SidecarFile(d.Cache))
	if err != nil {
		return err
	}
	config, _, err := client(d)
	if err != nil {
		return err
	}
	return Apply(ctx, config, fmt.Appendf(nil, prepullYAML, strings.TrimSpace(string(ref))))
}

const prepullYAML = `apiVersion: apps/v1
kind: DaemonSet
metadata: {name: prepull, namespace: kube-system}
spec:
  selector: {matchLabels: {app: prepull}}
  template:
    metadata: {labels: {app: prepull}}
    spec:
      nodeSelector: {osc-debug.dev/sandbox: vm}
      tolerations: [{key: osc-debug.dev/sandbox, operator: Exists}]
      terminationGracePeriodSeconds: 0
      containers:
      - {name: sidecar, image: %q, resources: {requests: {memory: 16Mi}}}
`

// Apply applies a stream of YAML documents with server-side apply.
func Apply(ctx context.Context, config *rest.Config, stream []byte) error {
	disco, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return err
	}
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(disco))
	dyn, err := dynamic.NewForConfig(config)
	if err != nil {
		return err
	}
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(stream), 4096)
	for {
		var object unstructured.Unstructured
		if err := decoder.Decode(&object.Object); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if object.Object == nil {
			continue
		}
		if err := applyOne(ctx, dyn, mapper, &object); err != nil {
			return fmt.Errorf("apply %s %s: %w", object.GetKind(), object.GetName(), err)
		}
	}
}

// applyOne applies one object, and waits up to 20 s until the API server knows its kind.
func applyOne(ctx context.Context, dyn dynamic.Interface, mapper meta.ResettableRESTMapper, object *unstructured.Unstructured) error {
	gvk := object.GroupVersionKind()
	return wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, 20*time.Second, true, func(ctx context.Context) (bool, error) {
		mapping, err := mapper.RESTMapping(schema.GroupKind{Group: gvk.Group, Kind: gvk.Kind}, gvk.Version)
		if meta.IsNoMatchError(err) { // its definition has just been applied
			mapper.Reset()
			return false, nil
		}
		if err != nil {
			return false, err
		}
		var resource dynamic.ResourceInterface = dyn.Resource(mapping.Resource)
		if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
			resource = dyn.Resource(mapping.Resource).Namespace(object.GetNamespace())
		}
		_, err = resource.Apply(ctx, object.GetName(), object, metav1.ApplyOptions{FieldManager: "devcluster", Force: true})
		return err == nil, err
	})
}

// waitReady waits until both nodes, the router and the sidecar image are ready. If early is set, it
// waits only for the runc node and the router.
func (spec Spec) waitReady(ctx context.Context, early bool) error {
	_, set, err := client(spec.Dirs)
	if err != nil {
		return err
	}
	var waiting string
	err = wait.PollUntilContextTimeout(ctx, 200*time.Millisecond, 120*time.Second, true, func(ctx context.Context) (bool, error) {
		if now := notReady(ctx, set, spec.Dirs, early); ctx.Err() == nil { // at the deadline every request fails
			waiting = now
		}
		return waiting == "", nil
	})
	if err != nil {
		return fmt.Errorf("%s not ready: %w%s", waiting, err, tail(spec.Dirs, map[string]string{
			topology.RuncNode: "kubelet", topology.KataNode: "qemu", "router": "router", "sidecar image": "qemu"}[waiting]))
	}
	return nil
}

// notReady returns the name of the first part that is not ready, "" if all are. If early is set, it
// ignores the sandbox node.
func notReady(ctx context.Context, set kubernetes.Interface, d topology.Dirs, early bool) string {
	nodes := []string{topology.RuncNode, topology.KataNode}
	if early {
		nodes = nodes[:1]
	}
	for _, name := range nodes {
		node, err := set.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return name
		}
		ready := false
		for _, c := range node.Status.Conditions {
			ready = ready || c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
		}
		if !ready {
			return name
		}
	}
	if _, err := os.Stat(d.In("router", "haproxy.sock")); err != nil {
		return "router"
	}
	if early {
		return ""
	}
	pull, err := set.AppsV1().DaemonSets("kube-system").Get(ctx, "prepull", metav1.GetOptions{})
	if err != nil || pull.Status.NumberReady < 1 {
		return "sidecar image"
	}
	return ""
}

// Status prints that the cluster is ready; it returns an error if it is not ready or not running.
func Status(ctx context.Context, w io.Writer) error {
	d, err := topology.NewDirs()
	if err != nil {
		return err
	}
	pid := supervisorPID(d)
	if pid == 0 {
		return errors.New("no cluster is running; start one with 'make cluster-up'")
	}
	_, set, err := client(d)
	if err != nil {
		return err
	}
	if waiting := notReady(ctx, set, d, false); waiting != "" {
		return fmt.Errorf("the cluster is running (process %d), but %s is not ready; logs are in %s", pid, waiting, d.In("log"))
	}
	fmt.Fprintf(w, "the cluster is running (process %d): nodes %s and %s are ready, the router serves on %s, logs are in %s\n",
		pid, topology.RuncNode, topology.KataNode, topology.ClusterIP, d.In("log"))
	return nil
}
