// Command osc-debug debugs live workloads on OpenShift in a sandbox VM.
package main

import (
	"os"

	"github.com/osc-debug/osc-debug/pkg/cli"
)

func main() { os.Exit(cli.Main(os.Args, os.Stdin, os.Stdout, os.Stderr)) }
