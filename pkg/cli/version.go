package cli

import (
	"encoding/json"
	"fmt"
	"runtime"

	"github.com/spf13/cobra"
)

// Set by the linker: 'make build' and releases do.
var (
	version      = "dev"
	sidecarImage = ""
)

func (a *app) versionCommand() *cobra.Command {
	var output string
	c := &cobra.Command{
		Use: "version", Short: "Print the version and the sidecar image", Args: noArgs,
		Example: "  osc-debug version\n  osc-debug version -o json",
		RunE: func(c *cobra.Command, _ []string) error {
			info := map[string]string{"version": version, "sidecarImage": sidecarImage, "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH}
			switch output {
			case "":
				image := sidecarImage
				if image == "" {
					image = "none built in: give --sidecar-image"
				}
				fmt.Fprintf(a.Out, "osc-debug %s (%s, %s)\nsidecar   %s\n", info["version"], info["go"], info["platform"], image)
				return nil
			case "json":
				return json.NewEncoder(a.Out).Encode(info)
			}
			return usage(c, fmt.Errorf("--output %q: must be json", output))
		},
	}
	c.Flags().StringVarP(&output, "output", "o", "", "output format: json")
	return c
}
