// Package reason names why something was refused, warned of, ended or found missing. Each reason
// has a stable code for scripts and tests, a sentence that says what is wrong, and what to do about
// it. All of them stand in one table, from which docs/reasons.md is made.
package reason

import (
	"fmt"
	"strings"
)

// Code is a reason's name. Codes are never reused for something else.
type Code string

// Kind is where a reason shows up.
type Kind string

// Kinds.
const (
	Refusal Kind = "refusal" // a command does not begin, nothing was changed
	Warning Kind = "warning" // a command goes on
	Failure Kind = "failure" // a command gives up; what it did is undone
	Verdict Kind = "verdict" // the guard ends a session, or leaves it alone
	Finding Kind = "finding" // doctor found something missing
)

// Reason is a row of the table. Sentence and Fix are templates: {name} stands for an argument.
// Sentence says what is wrong, without commands. Fix says what to do, "" for nothing; in it
// {osc-debug} and the verb after it stand for a command as the user gives it.
type Reason struct {
	Code     Code
	Kind     Kind
	Sentence string
	Fix      string
}

// Error is a reason that came up, with the arguments of its sentence.
type Error struct {
	Code Code
	// Rights says that the caller lacks permissions.
	Rights bool

	args  map[string]string
	cause error
}

// New makes an error of a reason. args are names and values in turns; each name stands in the
// reason's sentence or fix. A value that is an error becomes the cause, found by errors.As.
func New(code Code, args ...any) *Error {
	e := &Error{Code: code, args: map[string]string{}}
	for i := 0; i+1 < len(args); i += 2 {
		e.args[fmt.Sprint(args[i])] = fmt.Sprint(args[i+1])
		if err, ok := args[i+1].(error); ok {
			e.cause = err
		}
	}
	return e
}

// Forbidden is New for a caller that lacks permissions.
func Forbidden(code Code, args ...any) *Error {
	e := New(code, args...)
	e.Rights = true
	return e
}

// Error is the sentence, without what to do.
func (e *Error) Error() string { return fill(row(e.Code).Sentence, e.args, nil) }

// Unwrap is the cause, nil for none.
func (e *Error) Unwrap() error { return e.cause }

// Fix is what to do, "" for nothing. More arguments may be given for names that the error does not
// know, such as the user's; values of the error's own win.
func (e *Error) Fix(more map[string]string) string { return e.FixFor(nil, more) }

// FixFor is Fix for a user who gives our commands in another way: command is what he types for a
// verb, without the arguments that follow it. nil: as Fix has it.
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

// Kind is the kind of the error's reason.
func (e *Error) Kind() Kind { return row(e.Code).Kind }

// Reasoned is an error of another type that has a reason.
type Reasoned interface {
	error
	Reason() *Error
}

// Of finds the first reason in an error's tree, nil where there is none.
func Of(err error) *Error {
	all := All(err)
	if len(all) == 0 {
		return nil
	}
	return all[0]
}

// All lists the reasons in an error's tree, outermost first.
func All(err error) (out []*Error) {
	switch e := err.(type) {
	case nil:
		return nil
	case *Error:
		return append([]*Error{e}, All(e.cause)...)
	case Reasoned:
		out = append(out, e.Reason())
	}
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		out = append(out, All(e.Unwrap())...)
	case interface{ Unwrap() []error }:
		for _, one := range e.Unwrap() {
			out = append(out, All(one)...)
		}
	}
	return out
}

// Is says whether an error has one of some reasons.
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

// CodeOf is the code of an error's first reason, "" for none.
func CodeOf(err error) Code {
	if e := Of(err); e != nil {
		return e.Code
	}
	return ""
}

// fill replaces {name} by arguments and, where commands are given, {osc-debug} with the verb after
// it by the verb's command.
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

// cutWord cuts off the letters that a text begins with.
func cutWord(text string) (word, after string) {
	end := strings.IndexFunc(text, func(r rune) bool { return r < 'a' || r > 'z' })
	if end < 0 {
		return text, ""
	}
	return text[:end], text[end:]
}
