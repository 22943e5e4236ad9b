package cli

import (
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/osc-debug/osc-debug/pkg/kube/exec"
	"github.com/osc-debug/osc-debug/pkg/session/record"
	"github.com/osc-debug/osc-debug/pkg/trace"
)

type cpFlags struct {
	route, session, limit string
}

func (a *app) cpCommand() *cobra.Command {
	f := &cpFlags{}
	c := &cobra.Command{
		Use:   "cp [POD]:PATH FILE | FILE [POD]:PATH",
		Short: "Copy a file out of a session's sandbox, or into it",
		Long: `Copy a file out of the sidecar of a session's sandbox, or into it. Without a pod's name,
it is the first pod's. A relative path begins at /scratch, where the sidecar's tools run.

A file that is copied out is checked by its SHA-256 sum; if the stream is cut, it goes on where
it was. No local file is replaced.`,
		Example: `  osc-debug cp :dump.pcap dump.pcap
  osc-debug cp latency.bt :latency.bt`,
		Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error { return a.runCp(c, f, args[0], args[1]) },
	}
	fl := c.Flags()
	fl.StringVar(&f.route, "route", "", "Route of the session")
	fl.StringVarP(&f.session, "session", "s", "", "ID of the session")
	fl.StringVar(&f.limit, "limit", "4Gi", "largest file to copy out of the sandbox")
	a.completions(c)
	return c
}

// remotePath returns the pod and the path of [POD]:PATH; ok is false for a local file.
func remotePath(given string) (pod, file string, ok bool) {
	pod, file, ok = strings.Cut(given, ":")
	return pod, file, ok && file != "" && !strings.ContainsRune(pod, '/')
}

func (a *app) runCp(c *cobra.Command, f *cpFlags, from, to string) error {
	pod, file, out := remotePath(from)
	if !out {
		var in bool
		if pod, file, in = remotePath(to); !in {
			return usage(c, errors.New("one of the two must be in the sandbox: [POD]:PATH"))
		}
	} else if _, _, both := remotePath(to); both {
		return usage(c, errors.New("one of the two must be a local file"))
	}
	limit, err := resource.ParseQuantity(f.limit)
	if err != nil || limit.Value() <= 0 {
		return usage(c, fmt.Errorf("--limit %q: must be a size such as 500Mi", f.limit))
	}
	clients, err := a.clients()
	if err != nil {
		return err
	}
	found, err := clients.finder().Running(c.Context(), f.route, f.session)
	if err != nil {
		return err
	}
	if pod == "" {
		pod = record.PodName(found.Session.ID, 0)
	}
	if !record.NamesPod(pod, found.Session.ID, nil) {
		return usage(c, fmt.Errorf("%s is no pod of session %s", pod, found.Session.ID))
	}
	if !path.IsAbs(file) {
		file = path.Join("/scratch", file)
	}
	place := trace.Place{Namespace: clients.namespace, Pod: pod, Path: file}
	client := exec.Client{Config: clients.config, Core: clients.Core}
	var size int64
	if out {
		size, err = trace.Fetch(c.Context(), client, place, filepath.Clean(to), limit.Value())
	} else {
		size, err = trace.Put(c.Context(), client, from, place)
	}
	if err != nil {
		return err
	}
	a.report().Note("%d bytes copied", size)
	return nil
}
