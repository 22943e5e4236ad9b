package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"k8s.io/cli-runtime/pkg/printers"

	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/session"
	"github.com/osc-debug/osc-debug/pkg/session/record"
	"github.com/osc-debug/osc-debug/pkg/terminal"
)

// statusFormats are the values of --output.
var statusFormats = []string{"", "name", "wide", "tree", "yaml", "json"}

// statusPrinter prints sessions. It remembers the widths of the columns.
type statusPrinter struct {
	*app
	*statusFlags
	table interface {
		io.Writer
		Flush() error
	}
	begun bool
}

func (a *app) statusPrinter(f *statusFlags) *statusPrinter {
	return &statusPrinter{app: a, statusFlags: f, table: printers.GetNewTabWriter(a.Out)}
}

// print prints sessions in the format of --output.
func (p *statusPrinter) print(rows []session.Status) error {
	switch p.output {
	case "json":
		encoder := json.NewEncoder(terminal.NewJSONWriter(p.raw.Out))
		encoder.SetIndent("", "  ")
		return encoder.Encode(map[string]any{"sessions": rows})
	case "yaml":
		data, err := marshalYAML(map[string]any{"sessions": rows})
		if err != nil {
			return err
		}
		if p.watch {
			fmt.Fprintln(p.Out, "---")
		}
		_, err = p.Out.Write(data)
		return err
	case "name":
		for _, r := range onOneLine(rows) {
			fmt.Fprintln(p.Out, r.Session)
		}
		return nil
	}
	if len(rows) == 0 {
		fmt.Fprintln(p.ErrOut, "no session")
		return nil
	}
	rows = onOneLine(rows)
	if p.output == "tree" {
		for _, r := range rows {
			p.tree(r)
		}
	} else if err := p.rows(rows); err != nil {
		return err
	}
	for _, r := range rows {
		if r.Problem != "" {
			fmt.Fprintf(p.ErrOut, "route %s/%s: %s (%s)\n", r.Namespace, r.Route, r.Problem, r.ProblemCode)
		}
	}
	return nil
}

// onOneLine returns copies of rows in which no value has a line end or a tab: a user's name must not look
// like another row.
func onOneLine(rows []session.Status) []session.Status {
	out := make([]session.Status, 0, len(rows))
	for _, r := range rows {
		r.Backends, r.Pods = slices.Clone(r.Backends), slices.Clone(r.Pods)
		values := []*string{&r.Namespace, &r.Route, &r.Session, &r.State, &r.Workload, &r.User, &r.Problem}
		for i := range r.Backends {
			values = append(values, &r.Backends[i].Service)
		}
		for i := range r.Pods {
			values = append(values, &r.Pods[i].Name, &r.Pods[i].Phase, &r.Pods[i].Node)
		}
		for _, v := range values {
			*v = terminal.Line(*v)
		}
		r.ProblemCode = reason.Code(terminal.Line(string(r.ProblemCode)))
		out = append(out, r)
	}
	return out
}

// rows prints a table, with a head above the first rows.
func (p *statusPrinter) rows(rows []session.Status) error {
	where := func(namespace string) string {
		if p.all {
			return namespace + "\t"
		}
		return ""
	}
	wide := func(text string) string {
		if p.output == "wide" {
			return "\t" + text
		}
		return ""
	}
	if !p.begun {
		fmt.Fprintln(p.table, where("NAMESPACE")+"ROUTE\tSESSION\tSTATE\tASKED\tREALISED\tREADY\tLEFT\tWORKLOAD\tUSER"+wide("WEIGHTS\tPODS"))
		p.begun = true
	}
	for _, r := range rows {
		var weights, pods []string
		for _, b := range r.Backends {
			weights = append(weights, fmt.Sprintf("%s=%d", b.Service, b.Weight))
		}
		for _, pod := range r.Pods {
			pods = append(pods, pod.Name+"@"+pod.Node)
		}
		fmt.Fprintf(p.table, "%s%s\t%s\t%s\t%g%%\t%.2f%%\t%d\t%s\t%s\t%s%s\n", where(r.Namespace), r.Route, r.Session, r.State, r.Asked, r.Realised, r.Ready, timeLeft(r), r.Workload, r.User,
			wide(strings.Join(weights, ",")+"\t"+strings.Join(pods, ",")))
	}
	return p.table.Flush()
}

func timeLeft(r session.Status) string {
	if r.State == string(record.Draining) {
		return "-"
	}
	return r.Left.Round(time.Second).String()
}

// tree prints a session with its backends and pods.
func (p *statusPrinter) tree(r session.Status) {
	fmt.Fprintf(p.Out, "%s/%s  session %s of %s: %s, %g%% asked, %.2f%% realised, %s left\n", r.Namespace, r.Route, r.Session, r.User, r.State, r.Asked, r.Realised, timeLeft(r))
	for i, b := range r.Backends {
		branch, rest := "├─", "│ "
		if i == len(r.Backends)-1 {
			branch, rest = "└─", "  "
		}
		what := ""
		if b.Sandbox {
			what = "  sandbox of " + r.Workload
		}
		fmt.Fprintf(p.Out, "%s %s  weight %d, %d server(s), %.2f%% of new clients%s\n", branch, b.Service, b.Weight, b.Servers, b.Share, what)
		if !b.Sandbox {
			continue
		}
		for n, pod := range r.Pods {
			twig := "├─"
			if n == len(r.Pods)-1 {
				twig = "└─"
			}
			ready := "not ready"
			if pod.Ready {
				ready = "ready"
			}
			fmt.Fprintf(p.Out, "%s %s %s  %s, %s, node %s\n", rest, twig, pod.Name, pod.Phase, ready, pod.Node)
		}
	}
}
