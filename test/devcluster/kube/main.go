// Command kube holds every Kubernetes component of the development cluster. One
// program links once where six link six times; it acts by the name it is called
// by (a symlink), as busybox does, or by its first argument.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	kubectl "k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

func main() {
	name := filepath.Base(os.Args[0])
	if _, ok := command(name); !ok && len(os.Args) > 1 {
		name = os.Args[1]
		os.Args = os.Args[1:]
	}
	newCommand, ok := command(name)
	if !ok {
		fmt.Fprintln(os.Stderr, "kube: call me as kube-apiserver, kube-controller-manager, kube-scheduler, kubelet, kube-proxy or kubectl")
		os.Exit(2)
	}
	if name == "kubectl" {
		if err := cli.RunNoErrOutput(newCommand()); err != nil {
			util.CheckErr(err)
		}
		return
	}
	os.Exit(cli.Run(newCommand()))
}

// command returns the constructor of the component called name. Only one is ever
// built in a process: the components share global feature gates.
func command(name string) (func() *cobra.Command, bool) {
	switch name {
	case "kube-apiserver":
		return apiserver.NewAPIServerCommand, true
	case "kube-controller-manager":
		return controllermanager.NewControllerManagerCommand, true
	case "kube-scheduler":
		return func() *cobra.Command { return scheduler.NewSchedulerCommand() }, true
	case "kubelet":
		return func() *cobra.Command { return kubelet.NewKubeletCommand(context.Background()) }, true
	case "kube-proxy":
		return proxy.NewProxyCommand, true
	case "kubectl":
		return kubectl.NewDefaultKubectlCommand, true
	}
	return nil, false
}
