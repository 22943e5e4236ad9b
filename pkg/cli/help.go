package cli

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// groupKey is the annotation of a flag that names its group in the help of a command.
const groupKey = "osc-debug/group"

// group puts flags under a heading in the help of their command.
func group(flags *pflag.FlagSet, heading string, names ...string) {
	for _, name := range names {
		_ = flags.SetAnnotation(name, groupKey, []string{heading}) // fails for an unknown flag: a test lists those without a group
	}
}

// printUsage prints what follows a command's description in its help. Flags that all commands have
// are under 'osc-debug options', as they are in kubectl.
func (a *app) printUsage(c *cobra.Command) error {
	w := c.OutOrStdout()
	if c.Runnable() {
		fmt.Fprintf(w, "Usage:\n  %s\n", c.UseLine())
	}
	if c.HasAvailableSubCommands() {
		fmt.Fprintf(w, "Usage:\n  %s COMMAND\n", c.CommandPath())
	}
	if c.HasExample() {
		fmt.Fprintf(w, "\nExamples:\n%s\n", c.Example)
	}
	if c.HasAvailableSubCommands() {
		fmt.Fprint(w, "\nCommands:\n")
		for _, sub := range c.Commands() {
			if sub.IsAvailableCommand() || sub.Name() == "help" {
				fmt.Fprintf(w, "  %-12s %s\n", sub.Name(), sub.Short)
			}
		}
	}
	if c.HasParent() {
		printFlags(w, c.LocalNonPersistentFlags())
	}
	if c.HasAvailableSubCommands() {
		fmt.Fprintf(w, "\nUse \"%s COMMAND --help\" for more about a command.\n", c.CommandPath())
	}
	fmt.Fprintf(w, "\nUse \"%s options\" for the flags that all commands have.\n", a.name)
	return nil
}

// printFlags prints flags under the headings of their groups; flags without a group come last. Groups
// and flags are in the order of their definition if the command's own flags are not sorted.
func printFlags(w io.Writer, flags *pflag.FlagSet) {
	flags.SortFlags = false
	sets, order := map[string]*pflag.FlagSet{}, []string{}
	flags.VisitAll(func(f *pflag.Flag) {
		heading := "Flags"
		if g := f.Annotations[groupKey]; len(g) > 0 {
			heading = g[0]
		}
		if sets[heading] == nil {
			sets[heading] = pflag.NewFlagSet(heading, pflag.ContinueOnError)
			sets[heading].SortFlags = false
			order = append(order, heading)
		}
		sets[heading].AddFlag(f)
	})
	if i := slices.Index(order, "Flags"); i >= 0 {
		order = append(slices.Delete(order, i, i+1), "Flags")
	}
	for _, heading := range order {
		if text := strings.TrimRight(sets[heading].FlagUsages(), "\n"); text != "" {
			fmt.Fprintf(w, "\n%s:\n%s\n", heading, text)
		}
	}
}

// optionsCommand prints the flags that all commands have.
func (a *app) optionsCommand(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use: "options", Short: "Print the flags that all commands have", Args: noArgs,
		Example: "  osc-debug options",
		RunE: func(*cobra.Command, []string) error {
			fmt.Fprintf(a.Out, "The following flags can be passed to any command:\n\n%s", root.PersistentFlags().FlagUsages())
			return nil
		},
	}
}

// refuseEmptyNames refuses --route "" and --session "", which unset variables of a script make. Without
// a name, a command takes the only session there is, which may be someone else's.
func refuseEmptyNames(c *cobra.Command, _ []string) error {
	for _, name := range []string{"route", "session"} {
		if f := c.Flags().Lookup(name); f != nil && f.Changed && f.Value.String() == "" {
			return usage(c, fmt.Errorf("--%s is empty", name))
		}
	}
	return nil
}

// routeArg takes the Route as an argument or by --route, and refuses two different ones.
func routeArg(route *string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		switch {
		case len(args) == 1 && args[0] == "":
			return usage(c, errors.New("the Route's name is empty"))
		case len(args) > 1:
			return usage(c, fmt.Errorf("expected one Route, got %d: %s", len(args), strings.Join(args, " ")))
		case len(args) == 1 && *route != "" && *route != args[0]:
			return usage(c, fmt.Errorf("the argument names Route %s, but --route names %s", args[0], *route))
		case len(args) == 1:
			*route = args[0]
		}
		return nil
	}
}
