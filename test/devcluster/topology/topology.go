// Package topology names the addresses, files and nodes of the development cluster. The cluster has
// its own network, mount and PID namespaces; the machine reaches it over one veth pair.
package topology

import (
	"os"
	"path/filepath"
)

// Addresses in the cluster's network namespace. HostIP is the machine's end of the veth pair. The API
// server, the router and the registry listen on ClusterIP. GatewayIP belongs to the bridge that the
// guest and the pods of the runc node are connected to.
const (
	HostLink    = "osc-dev0"
	ClusterLink = "osc-dev1"
	HostIP      = "10.87.0.1"
	ClusterIP   = "10.87.0.2"
	LinkBits    = "/24"

	Bridge    = "oscbr0"
	Tap       = "osctap0"
	GatewayIP = "10.88.0.1"
	GuestIP   = "10.88.0.2"
	PodCIDR   = "10.88.0.0/16"
	PodStart  = "10.88.1.1"
	GuestPods = "10.89.0.0/16"
	AllPods   = "10.88.0.0/15"

	ServiceCIDR  = "10.96.0.0/16"
	KubernetesIP = "10.96.0.1"

	APIPort      = "6443"
	RegistryPort = "5000"
)

// The nodes. RuntimeClass kata selects KataNode by KataNodeLabel.
const (
	RuncNode      = "runc-node"
	KataNode      = "kata-node"
	KataNodeLabel = "osc-debug.dev/sandbox"
)

// CgroupRoot is the parent cgroup of the runc node's pods.
const CgroupRoot = "osc-debug-dev"

// Cache returns the folder that keeps builds between runs: $OSC_DEBUG_CACHE if set, otherwise a
// folder in the user's cache folder.
func Cache() (string, error) {
	if dir := os.Getenv("OSC_DEBUG_CACHE"); dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, "osc-debug"), nil
}

// Dirs are the folders of one cluster.
type Dirs struct {
	Cache string // built parts, by version
	State string // files of the running cluster; removed by cluster-down
}

// NewDirs returns the folders without creating them.
func NewDirs() (Dirs, error) {
	cache, err := Cache()
	if err != nil {
		return Dirs{}, err
	}
	return Dirs{Cache: cache, State: filepath.Join(cache, "cluster")}, nil
}

// In returns the path of a file or folder of the running cluster.
func (d Dirs) In(elem ...string) string { return filepath.Join(append([]string{d.State}, elem...)...) }

// Log returns the path of a component's log file.
func (d Dirs) Log(name string) string { return d.In("log", name+".log") }
