package cluster

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/osc-debug/osc-debug/test/devcluster/topology"
)

// node has the paths and addresses in which the configurations of the runc node and the guest differ.
type node struct {
	name      string
	certs     string // folder with ca.crt, NAME.crt and NAME.key
	cniBin    string
	cniConf   string
	hosts     string // containerd's registry configuration
	cgroup    string // parent of kubepods
	podCIDR   string
	podStart  string
	cniBridge string
	evicts    bool // whether the kubelet evicts pods whose volumes exceed their limit: it must be able to measure its disk
}

// containerdTOML returns the configuration of containerd 2. Its handler "kata" is also runc: here a
// sandbox is in a VM because RuntimeClass kata selects the node that is one.
func (n node) containerdTOML() string {
	return fmt.Sprintf(`version = 3
root = "/var/lib/containerd"
state = "/run/containerd"
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.cri.v1.images"]
  snapshotter = "overlayfs"
  [plugins."io.containerd.cri.v1.images".registry]
    config_path = %q
  [plugins."io.containerd.cri.v1.images".pinned_images]
    sandbox = "registry.k8s.io/pause:3.10.1"
[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true          # root may lack CAP_SYS_RESOURCE
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = [%q]
    conf_dir = %q
  [plugins."io.containerd.cri.v1.runtime".containerd]
    default_runtime_name = "runc"
    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.kata]
      runtime_type = "io.containerd.runc.v2"
      privileged_without_host_devices = true
`, n.hosts, n.cniBin, n.cniConf)
}

// registryTOML returns the configuration that sends pulls from every registry to the local one.
func registryTOML() string {
	url := "http://" + topology.GatewayIP + ":" + topology.RegistryPort
	return fmt.Sprintf("server = %q\n[host.%q]\n  capabilities = [\"pull\", \"resolve\"]\n", url, url)
}

// cniConfig returns the configuration of the node's pod network.
func (n node) cniConfig() string {
	return fmt.Sprintf(`{"cniVersion":"1.0.0","name":"osc","plugins":[{"type":"bridge","bridge":%q,"isGateway":true,"hairpinMode":true,
"ipam":{"type":"host-local","ranges":[[{"subnet":%q,"rangeStart":%q}]],"routes":[{"dst":"0.0.0.0/0"}]}}]}
`, n.cniBridge, n.podCIDR, n.podStart)
}

// kubeletYAML returns the configuration of the node's kubelet.
func (n node) kubeletYAML() string {
	return fmt.Sprintf(`apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {x509: {clientCAFile: %[1]s/ca.crt}, webhook: {enabled: true}, anonymous: {enabled: false}}
authorization: {mode: Webhook}
cgroupDriver: cgroupfs
cgroupRoot: %[3]s
failCgroupV1: false
failSwapOn: false
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
imageServiceEndpoint: unix:///run/containerd/containerd.sock
tlsCertFile: %[1]s/%[2]s.crt
tlsPrivateKeyFile: %[1]s/%[2]s.key
resolvConf: /dev/null
localStorageCapacityIsolation: %[4]t
enforceNodeAllocatable: []
evictionHard: {}
serializeImagePulls: false
nodeStatusUpdateFrequency: 5s
`, n.certs, n.name, n.cgroup, n.evicts)
}

const proxyYAML = `apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
clientConnection: {kubeconfig: %s}
hostnameOverride: %s
clusterCIDR: %s
conntrack: {maxPerCore: 0, min: 0}
nftables: {minSyncPeriod: 10s} # no test uses a Service's address, but that of the API server
metricsBindAddress: 127.0.0.1:10249
healthzBindAddress: 127.0.0.1:10256
`

// writeAll writes files, given by path, and creates their folders.
func writeAll(files map[string]string) error {
	for path, text := range files {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}
