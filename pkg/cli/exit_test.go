package cli

import (
	"errors"
	"testing"

	"github.com/osc-debug/osc-debug/pkg/session"
)

// Whatever ended a session: where the way back failed, that decides the exit code.
func TestAWayBackThatFailedIsIncomplete(t *testing.T) {
	for _, first := range []error{session.ErrInterrupted, &session.Timeout{}, &session.Expired{}, errors.New("a router answers 503")} {
		err := (&app{}).conclude(&shiftFlags{}, session.Result{Unended: true, Expired: true}, errors.Join(first, errors.New("no answer")))
		if got := exitCode(err); got != codeLeftovers {
			t.Errorf("%v: exit code %d, wanted %d", first, got, codeLeftovers)
		}
	}
}

// Of several sessions the one that is not over decides the exit code.
func TestTheWorstOfSeveralSessionsDecides(t *testing.T) {
	foreign := &exitError{code: codeForeign, err: errors.New("others changed it")}
	failed := errors.New("no answer")
	for _, c := range []struct {
		errs []error
		want int
	}{
		{[]error{nil, nil}, codeOK},
		{[]error{nil, foreign}, codeForeign},
		{[]error{foreign, failed}, codeError},
		{[]error{failed, nil, foreign}, codeError},
		{[]error{foreign, &exitError{code: codeLeftovers, err: failed}}, codeLeftovers},
	} {
		err := worst(c.errs)
		if got := exitCode(err); got != c.want {
			t.Errorf("%v: exit code %d, wanted %d", c.errs, got, c.want)
		}
		for _, one := range c.errs {
			if one != nil && !errors.Is(err, one) {
				t.Errorf("%v is not told: %v", one, err)
			}
		}
	}
}
