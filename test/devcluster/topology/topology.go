// Package topology names the addresses, files and components of the development
// cluster. Everything lives in network, mount and PID namespaces of its own; the
// machine reaches it over one veth pair.
package topology

import (
	"os"
	"path/filepath"
)

// Addresses inside the cluster's network namespace. The machine has HostIP on its
// end of the veth pair; the API server, the router and the registry answer on
// ClusterIP. GatewayIP is the bridge that pods of the runc node and the guest hang on.
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

// Node names. RuntimeClass kata selects KataNode by KataNodeLabel.
const (
	RuncNode      = "runc-node"
	KataNode      = "kata-node"
	KataNodeLabel = "osc-debug.dev/sandbox"
)

// CgroupRoot is the cgroup below which the runc node keeps its pods.
const CgroupRoot = "osc-debug-dev"

// Cache returns the folder that builds are kept in between runs, by version:
// $OSC_DEBUG_CACHE, else the user's cache folder.
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
	State string // of the running cluster; gone after cluster-down
}

// NewDirs returns the folders in use, without making them.
func NewDirs() (Dirs, error) {
	cache, err := Cache()
	if err != nil {
		return Dirs{}, err
	}
	return Dirs{Cache: cache, State: filepath.Join(cache, "cluster")}, nil
}

// In returns the path of a file or folder of the running cluster.
func (d Dirs) In(elem ...string) string { return filepath.Join(append([]string{d.State}, elem...)...) }

// Log returns the log file of a component.
func (d Dirs) Log(name string) string { return d.In("log", name+".log") }
