// Package reason defines the reasons for refusals, warnings, failures, the guard's verdicts and
// doctor's findings. Each reason has a stable code for scripts and tests, a sentence that says what is
// wrong, and a fix. All reasons are in one table, from which docs/reasons.md is generated.
package reason

import (
	"fmt"
	"strings"
)

// Code identifies a reason. A code is never reused for another reason.
type Code string

// Kind says in which situation a reason occurs.
type Kind string

// Kinds of reasons.
const (
	Refusal Kind = "refusal" // a command does not start; nothing was changed
	Warning Kind = "warning" // a command continues
	Failure Kind = "failure" // a command fails and undoes what it did
	Verdict Kind = "verdict" // the guard ends a session, or leaves it as it is
	Finding Kind = "finding" // doctor found something missing
)

// Reason is a row of the table. Sentence and Fix are templates in which {name} is replaced by an
// argument. Sentence says what is wrong, without commands. Fix says what to do, "" for nothing; in it
// {osc-debug} and the verb after it are replaced by the command as the user runs it.
type Reason struct {
	Code     Code
	Kind     Kind
	Sentence string
	Fix      string
}

// Error is an error with a reason and the arguments of the reason's sentence and fix.
type Error struct {
	Code Code
	// Rights is set if the caller lacks permissions.
	Rights bool

	args  map[string]string
	cause error
}

// New returns an error with a reason. args are alternating names and values; each name is one in the
// reason's sentence or fix. A value that is an error becomes the cause, which errors.As finds. In other
// values, line ends become spaces: a user's name must not look like a fix.
func New(code Code, args ...any) *Error {
	e := &Error{Code: code, args: map[string]string{}}
	for i := 0; i+1 < len(args); i += 2 {
		name, value := fmt.Sprint(args[i]), fmt.Sprint(args[i+1])
		if err, ok := args[i+1].(error); ok {
			e.cause = err
		} else {
			value = strings.ReplaceAll(value, "\n", " ")
		}
		e.args[name] = value
	}
	return e
}

// Forbidden is New for a caller who lacks permissions.
func Forbidden(code Code, args ...any) *Error {
	e := New(code, args...)
	e.Rights = true
	return e
}

// Error returns the sentence, without the fix.
func (e *Error) Error() string { return fill(row(e.Code).Sentence, e.args, nil) }

// Unwrap returns the cause, nil for none.
func (e *Error) Unwrap() error { return e.cause }

// Fix returns the fix, "" for none. more has arguments that the error does not have, such as the user;
// the error's own arguments take precedence.
func (e *Error) Fix(more map[string]string) string { return e.FixFor(nil, more) }

// FixFor is Fix for a user who runs our commands in another way: command returns what the user types
// for a verb, without the arguments that follow it. If it is nil, that is "osc-debug" and the verb.
func (e *Error) FixFor(command func(verb string) string, more map[string]string) string {
	if command == nil {
		command = func(verb string) string { return "osc-debug " + verb }
	}
	args := map[string]string{"user": "YOU"}
	for _, given := range []map[string]string{more, e.args} {
		for name, value := range given {
			if value != "" {
				args[name] = value
			}
		}
	}
	return fill(row(e.Code).Fix, args, command)
}

// Kind returns the kind of the error's reason.
func (e *Error) Kind() Kind { return row(e.Code).Kind }

// Reasoned is an error of another type that has a reason.
type Reasoned interface {
	error
	// Reason returns the reason.
	Reason() *Error
}

// Of returns the first reason in an error's tree, nil for none.
func Of(err error) *Error {
	all := All(err)
	if len(all) == 0 {
		return nil
	}
	return all[0]
}

// All returns the reasons in an error's tree, outermost first. It walks the tree itself, so the type
// switches are on any: on an error, a linter rightly wants errors.As.
func All(err error) (out []*Error) {
	switch e := any(err).(type) {
	case nil:
		return nil
	case *Error:
		return append([]*Error{e}, All(e.cause)...)
	case Reasoned:
		out = append(out, e.Reason())
	}
	switch e := any(err).(type) {
	case interface{ Unwrap() error }:
		out = append(out, All(e.Unwrap())...)
	case interface{ Unwrap() []error }:
		for _, one := range e.Unwrap() {
			out = append(out, All(one)...)
		}
	}
	return out
}

// Is reports whether an error's tree has a reason with one of the codes.
func Is(err error, codes ...Code) bool {
	for _, e := range All(err) {
		for _, code := range codes {
			if e.Code == code {
				return true
			}
		}
	}
	return false
}

// CodeOf returns the code of the first reason in an error's tree, "" for none.
func CodeOf(err error) Code {
	if e := Of(err); e != nil {
		return e.Code
	}
	return ""
}

// fill replaces each {name} in template with its argument and, if command is not nil, {osc-debug} and
// the verb after it with the verb's command. Other braces stay as they are.
func fill(template string, args map[string]string, command func(verb string) string) string {
	var out strings.Builder
	for {
		before, rest, found := strings.Cut(template, "{")
		out.WriteString(before)
		if !found {
			return out.String()
		}
		name, after, closed := strings.Cut(rest, "}")
		value, known := args[name]
		switch {
		case closed && name == "osc-debug" && command != nil:
			verb, following := cutWord(strings.TrimPrefix(after, " "))
			out.WriteString(command(verb))
			template = following
		case closed && known:
			out.WriteString(value)
			template = after
		default:
			out.WriteString("{")
			template = rest
		}
	}
}

// cutWord splits text after its leading lower-case letters.
func cutWord(text string) (word, after string) {
	end := strings.IndexFunc(text, func(r rune) bool { return r < 'a' || r > 'z' })
	if end < 0 {
		return text, ""
	}
	return text[:end], text[end:]
}
