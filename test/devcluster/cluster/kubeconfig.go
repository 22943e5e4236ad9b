package cluster

import (
	"os"

	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	"github.com/osc-debug/osc-debug/test/devcluster/topology"
)

// kubeconfig writes a kubeconfig for a user, who has a certificate or a token, and for the API server
// at an address.
func (p *pki) kubeconfig(path, user, address string) error {
	auth := &api.AuthInfo{Token: p.tokens[user]}
	if auth.Token == "" {
		cert, err := os.ReadFile(p.path(user + ".crt"))
		if err != nil {
			return err
		}
		key, err := os.ReadFile(p.path(user + ".key"))
		if err != nil {
			return err
		}
		auth.ClientCertificateData, auth.ClientKeyData = cert, key
	}
	return clientcmd.WriteToFile(api.Config{
		Clusters:       map[string]*api.Cluster{"osc-debug-dev": {Server: "https://" + address + ":" + topology.APIPort, CertificateAuthorityData: p.caPEM}},
		AuthInfos:      map[string]*api.AuthInfo{user: auth},
		Contexts:       map[string]*api.Context{user: {Cluster: "osc-debug-dev", AuthInfo: user}},
		CurrentContext: user,
	}, path)
}

// kubeconfigs writes the kubeconfigs of the users (for this machine), of the runc node, of the
// cluster's components, and of the guest.
func (p *pki) kubeconfigs(d topology.Dirs) error {
	files := []struct{ name, user, address string }{
		{"admin.conf", "admin", topology.ClusterIP},
		{"runc-node.conf", topology.RuncNode, "127.0.0.1"},
		{"kata-node.conf", topology.KataNode, topology.GatewayIP},
		{"components.conf", "admin", "127.0.0.1"},
	}
	for _, user := range Users {
		files = append(files, struct{ name, user, address string }{user + ".conf", user, topology.ClusterIP})
	}
	for _, f := range files {
		if err := p.kubeconfig(d.In(f.name), f.user, f.address); err != nil {
			return err
		}
	}
	return nil
}
