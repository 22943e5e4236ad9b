// Command soak runs the long tests in parts of at most half an hour each. Without arguments it runs
// the parts whose code has changed since they last passed; arguments name the parts to run. It
// records in docs/reliability.md with which code each part last passed, so an interrupted soak
// continues where it stopped. Parts of end-to-end tests can share a cluster: "kills+races".
package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, names []string) error {
	record, err := readRecord(recordFile)
	if err != nil {
		return err
	}
	if slices.Equal(names, []string{"list"}) {
		return list(ctx, record)
	}
	wanted, err := choose(ctx, record, names)
	if err != nil {
		return err
	}
	for _, p := range wanted {
		if err := p.run(ctx, record); err != nil {
			return err
		}
	}
	return list(ctx, record)
}

// choose returns the named parts, or without names those that are due.
func choose(ctx context.Context, record *record, names []string) (out []part, err error) {
	for _, name := range names {
		p, err := find(name)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	if names != nil {
		return out, nil
	}
	for _, p := range parts {
		if why := p.due(ctx, record); why != "" {
			out = append(out, p)
		}
	}
	return out, nil
}

// find returns the part with a name, or joins parts of end-to-end tests: "kills+races".
func find(name string) (joined part, err error) {
	for i, one := range strings.Split(name, "+") {
		at := slices.IndexFunc(parts, func(p part) bool { return p.name == one })
		switch {
		case at < 0:
			return part{}, fmt.Errorf("unknown part %q; 'make soak PART=list' lists the parts", one)
		case i == 0:
			joined = parts[at]
		case joined.tests == "" || parts[at].tests == "" || joined.timed || parts[at].timed:
			return part{}, fmt.Errorf("parts %q cannot share a cluster: only those of end-to-end tests can that check no times", name)
		default:
			joined = join(joined, parts[at])
		}
	}
	return joined, nil
}

// list prints when each part last passed, and whether the soak is complete.
func list(ctx context.Context, record *record) error {
	left := 0
	for _, p := range parts {
		state := "passed at " + record.rows[p.name].commit
		if why := p.due(ctx, record); why != "" {
			state = "due: " + why
			left++
		}
		fmt.Printf("%-24s %-36s %s\n", p.name, state, p.what)
	}
	if left == 0 {
		fmt.Println("complete: every part has passed since its code last changed")
	} else {
		fmt.Printf("%d of %d parts are due\n", left, len(parts))
	}
	return nil
}

// due returns why a part must run again, "" if it need not.
func (p part) due(ctx context.Context, record *record) string {
	last, ok := record.rows[p.name]
	if !ok {
		return "it has not passed yet"
	}
	sum, err := p.sum(ctx)
	switch {
	case err != nil:
		return err.Error()
	case sum != last.code:
		return "its code has changed"
	}
	return ""
}

// comment matches a line of Go or YAML that is a comment. Preprocessor directives of C have no blank after the #.
var comment = regexp.MustCompile(`^[ \t]*(//|# )`)

// sum returns a sum of the part's code, without lines that are comments: a change of nothing but these makes no part due.
func (p part) sum(ctx context.Context) (string, error) {
	files, err := git(ctx, append([]string{"ls-files", "--"}, p.code...)...)
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	for _, file := range strings.Fields(files) {
		text, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(sum, "%s\n%s\n", file, withoutComments(string(text)))
	}
	return hex.EncodeToString(sum.Sum(nil))[:12], nil
}

// withoutComments returns a text without the lines that are comments.
func withoutComments(text string) string {
	var out strings.Builder
	for line := range strings.Lines(text) {
		if !comment.MatchString(line) {
			out.WriteString(line)
		}
	}
	return out.String()
}

// run runs a part. If it passes and its code is committed, run records that.
func (p part) run(ctx context.Context, record *record) error {
	commit, err := git(ctx, "rev-parse", "--short=7", "HEAD")
	if err != nil {
		return err
	}
	dirty, err := git(ctx, append([]string{"status", "--porcelain", "--"}, p.code...)...)
	if err != nil {
		return err
	}
	fmt.Printf("== %s: %s\n", p.name, p.what)
	begin := time.Now()
	cmd := exec.CommandContext(ctx, "make", append([]string{"--no-print-directory"}, p.make...)...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.Env, cmd.Stdout, cmd.Stderr = append(os.Environ(), p.env...), os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("part %s: %w", p.name, err)
	}
	took := time.Since(begin).Round(time.Second)
	if dirty != "" {
		fmt.Printf("== %s passed in %s; not recorded, because its code has uncommitted changes\n", p.name, took)
		return nil
	}
	fmt.Printf("== %s passed in %s\n", p.name, took)
	last := row{commit: commit, date: begin.UTC().Format("2006-01-02"), took: took.String()}
	if len(p.all) > 1 {
		last.took += " for " + p.name
	}
	for _, name := range p.all {
		one, err := find(name)
		if err != nil {
			return err
		}
		if last.code, err = one.sum(ctx); err != nil {
			return err
		}
		record.rows[name] = last
	}
	return record.write()
}

// git runs git and returns its output without surrounding blanks.
func git(ctx context.Context, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, "git", args...).Output()
	if err != nil {
		return "", fmt.Errorf("git %s: %w", args[0], err)
	}
	return strings.TrimSpace(string(out)), nil
}
