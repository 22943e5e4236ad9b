package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/terminal"
)

// report prints a session's progress.
type report struct {
	mu    sync.Mutex
	w     io.Writer
	begin time.Time
	bold  func(string) string
	fixes func(error) []string // see app.fixes
	// hints are commands that the user may want next, by the step after which they are printed.
	hints map[string][]string
}

func (a *app) report() *report {
	bold := func(s string) string { return s }
	if showsColor(a.raw.ErrOut) {
		bold = terminal.Bold
	}
	return &report{w: a.ErrOut, begin: time.Now(), bold: bold, fixes: a.fixes}
}

func (r *report) Step(name, detail string) {
	r.print("%5.1fs  %s  %s\n", time.Since(r.begin).Seconds(), r.bold(fmt.Sprintf("%-9s", name)), continued(margin, detail))
	for i, hint := range r.hints[name] {
		if i == 0 {
			r.print("%sin another terminal:\n", margin)
		}
		r.print("%s  %s\n", margin, hint)
	}
}

// margin stands before what belongs to the line above.
const margin = "                   "

func (r *report) Note(format string, args ...any) {
	r.print("%s%s\n", margin, continued(margin, fmt.Sprintf(format, args...)))
}

// Warn prints a warning and what to do about it, unless --force lifted it.
func (r *report) Warn(err error) {
	text := fmt.Sprintf("        %s   %s\n", r.bold("warning:"), coded(err))
	if forced := (*reason.Forced)(nil); !errors.As(err, &forced) {
		for _, fix := range r.fixes(err) {
			text += indented(margin, fix) + "\n"
		}
	}
	r.print("%s", text)
}

func (r *report) print(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, _ = fmt.Fprintf(r.w, format, args...)
}

func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
