package cli

import (
	"errors"
	"slices"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/session"
	"github.com/osc-debug/osc-debug/pkg/session/store"
)

// Exit codes: see the table in README.
const (
	codeOK          = 0
	codeError       = 1
	codeUsage       = 2
	codeTimeout     = 3
	codeForeign     = 4
	codeLeftovers   = 5
	codeRefused     = 6
	codeExecFailed  = 125
	codeInterrupted = 130
)

// exitError is an error that knows its exit code.
type exitError struct {
	code   int
	err    error
	silent bool // printed already, or not worth printing
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// usage is the error of wrong flags or arguments.
func usage(c *cobra.Command, err error) error {
	return &exitError{code: codeUsage, err: reason.New(reason.WrongUsage, "why", err, "command", c.CommandPath())}
}

// exitCode finds the exit code for an error. Leftovers take precedence.
func exitCode(err error) int {
	var (
		exit      *exitError
		leftovers *store.Leftovers
		timeout   *session.Timeout
		expired   *session.Expired
	)
	switch {
	case err == nil:
		return codeOK
	case errors.As(err, &leftovers):
		return codeLeftovers
	case errors.As(err, &exit):
		return exit.code
	case errors.Is(err, session.ErrInterrupted):
		return codeInterrupted
	case lacksRights(err), apierrors.IsForbidden(err):
		return codeRefused
	case errors.As(err, &timeout), errors.As(err, &expired):
		return codeTimeout
	}
	return codeError
}

// lacksRights reports whether the caller lacks permissions.
func lacksRights(err error) bool {
	return slices.ContainsFunc(reason.All(err), func(e *reason.Error) bool { return e.Rights })
}
