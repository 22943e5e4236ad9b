package cli

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/term"
)

// report prints a session's progress.
type report struct {
	mu    sync.Mutex
	w     io.Writer
	begin time.Time
	bold  func(string) string
	say   func(string) string // see app.say
}

func (a *app) report() *report {
	bold := func(s string) string { return s }
	if a.color() {
		bold = func(s string) string { return "\x1b[1m" + s + "\x1b[0m" }
	}
	return &report{w: a.ErrOut, begin: time.Now(), bold: bold, say: a.say}
}

func (r *report) Step(name, detail string) {
	r.print("%5.1fs  %s  %s\n", time.Since(r.begin).Seconds(), r.bold(fmt.Sprintf("%-9s", name)), detail)
}

func (r *report) Note(format string, args ...any) {
	r.print("                   %s\n", fmt.Sprintf(format, args...))
}

func (r *report) Warn(format string, args ...any) {
	r.print("        %s   %s\n", r.bold("warning:"), fmt.Sprintf(format, args...))
}

func (r *report) print(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, _ = io.WriteString(r.w, r.say(fmt.Sprintf(format, args...)))
}

func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
