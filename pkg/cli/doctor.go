package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/osc-debug/osc-debug/pkg/doctor"
	"github.com/osc-debug/osc-debug/pkg/kube/exec"
	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/session"
	"github.com/osc-debug/osc-debug/pkg/terminal"
)

type doctorFlags struct {
	doctor.Doctor
	try     bool
	session string
	timeout time.Duration
	output  string
}

func (a *app) doctorCommand() *cobra.Command {
	f := &doctorFlags{}
	c := &cobra.Command{
		Use: "doctor [ROUTE]", Short: "Check what a session needs, and print how to fix what is missing",
		Args: routeArg(&f.Route), ValidArgsFunction: a.completeRoutes,
		Long: `Check everything that a session in this namespace needs: your permissions, the guard and its
permissions, pod security, SCC, RuntimeClass, image and policies; with a Route, also that Route.
With --router, it also sends a request to the Route, and says whether a session could be
proven. Nothing is written, except with --try: it starts a sandbox pod without traffic and
deletes it. With --session, it also checks the sandbox of that session: which gadgets work
there, and whether seccomp filters its program as it filters the original's.

Exit code 0: sessions can be held (warnings and unknowns do not count); 1: something is
missing.`,
		Example: "  osc-debug doctor\n  osc-debug doctor echo-route --try\n  osc-debug doctor --session f849b6k2\n  osc-debug doctor -o json | jq '.findings[] | select(.status == \"missing\")'",
		RunE:    func(c *cobra.Command, _ []string) error { return a.runDoctor(c, f) },
	}
	fl := c.Flags()
	fl.StringVar(&f.Route, "route", "", "check this Route too, in place of the argument")
	fl.StringVar(&f.RuntimeClass, "runtime-class", "kata", "RuntimeClass of sandboxes")
	fl.StringVar(&f.Image, "sidecar-image", sidecarImage, "image of the sidecar with the tools")
	fl.StringSliceVar(&f.Routers, "router", nil, "where to send a request to the Route as users do: HOST or HOST:PORT, once for each router (default: send none)")
	fl.BoolVar(&f.try, "try", false, "start a sandbox pod for the Route, without traffic, and delete it")
	fl.StringVarP(&f.session, "session", "s", "", "check the sandbox of the session with this ID too")
	fl.DurationVar(&f.timeout, "timeout", 90*time.Second, "how long the pod of --try may take to start; up to 1m50s")
	fl.StringVarP(&f.output, "output", "o", "", "output format: json")
	a.completions(c)
	return c
}

func (a *app) runDoctor(c *cobra.Command, f *doctorFlags) error {
	switch {
	case f.output != "" && f.output != "json":
		return usage(c, fmt.Errorf("--output %q: must be json", f.output))
	case f.try && f.Route == "":
		return usage(c, errors.New("--try needs a Route: every sandbox pod belongs to one"))
	case len(f.Routers) > 0 && f.Route == "":
		return usage(c, errors.New("--router needs a Route"))
	case f.timeout <= 0 || f.timeout > doctor.LongestTry:
		return usage(c, fmt.Errorf("--timeout must be positive and at most %s", doctor.LongestTry))
	}
	clients, err := a.clients()
	if err != nil {
		return err
	}
	f.Store, f.Clock, f.Trust, f.Namespace, f.Command = clients.Store, clients.clock, clients.trust, clients.namespace, a.verb
	findings := []doctor.Finding{}
	lacking := 0
	tell := func(found doctor.Finding) {
		findings = append(findings, found)
		if found.Status == doctor.Missing {
			lacking++
		}
		if f.output == "" {
			a.printFinding(found)
		}
	}
	if err := f.Look(c.Context(), tell); err != nil {
		return err
	}
	if f.session != "" {
		if err := f.lookIntoSession(c.Context(), clients, tell); err != nil {
			return err
		}
	}
	if f.try && lacking > 0 {
		fmt.Fprintln(a.ErrOut, "skipping --try: fix what is missing first")
	}
	if f.try && lacking == 0 {
		fmt.Fprintln(a.ErrOut, "starting a sandbox pod without traffic")
		if err := f.Try(c.Context(), f.timeout, tell); err != nil {
			return err
		}
	}
	if f.output == "json" {
		encoder := json.NewEncoder(terminal.NewJSONWriter(a.raw.Out))
		encoder.SetIndent("", "  ")
		if err := encoder.Encode(map[string]any{"namespace": f.Namespace, "findings": findings}); err != nil {
			return err
		}
	}
	if lacking > 0 {
		return reason.New(reason.ChecksFoundMissing, "namespace", f.Namespace, "lacking", lacking, "checks", len(findings))
	}
	return nil
}

// lookIntoSession checks the sandbox of a session.
func (f *doctorFlags) lookIntoSession(ctx context.Context, c *clients, tell func(doctor.Finding)) error {
	found, err := c.finder().Running(ctx, "", f.session)
	if err != nil {
		return err
	}
	target, err := session.TargetOf(ctx, c.Core, found, "")
	if err != nil {
		return err
	}
	return f.LookInto(ctx, exec.Client{Config: c.config, Core: c.Core}, found, target, tell)
}

func (a *app) printFinding(f doctor.Finding) {
	code := ""
	if f.Code != "" {
		code = " (" + string(f.Code) + ")"
	}
	fmt.Fprintf(a.Out, "%-8s %-20s %s%s\n", f.Status, f.Check, continued(strings.Repeat(" ", 30), f.Detail), code)
	if f.Mend != "" {
		fmt.Fprintln(a.Out, indented(strings.Repeat(" ", 30), "fix: "+terminal.Text(f.Mend)))
	}
}
