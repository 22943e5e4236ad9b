package doctor

import (
	"errors"
	"testing"

	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/trace/frame"
)

// Another seccomp mode than the original's is a warning; one that cannot be compared is unknown.
func TestSeccompOfSandboxAndOriginal(t *testing.T) {
	for _, c := range []struct {
		original seccomp
		status   Status
		code     reason.Code
	}{
		{seccomp{mode: "2"}, OK, ""},
		{seccomp{mode: "0"}, Warning, reason.SeccompDiffers},
		{seccomp{err: errors.New("no cat")}, Unknown, reason.SeccompNotRead},
	} {
		f, err := (&Doctor{}).newFinding(t.Context(), "seccomp", "", c.original.compare("2"))
		if err != nil || f.Status != c.status || f.Code != c.code {
			t.Errorf("original %+v: %+v, %v", c.original, f, err)
		}
	}
}

// A gadget that does not work, or not wholly, is a warning. A state that nobody knows is one too.
func TestGadgetsOfASandbox(t *testing.T) {
	for state, want := range map[string]reason.Code{
		frame.Works: "", frame.Degraded: reason.GadgetDegraded, frame.Unavailable: reason.GadgetUnavailable, "": reason.GadgetUnavailable, "splendid": reason.GadgetUnavailable,
	} {
		f, err := (&Doctor{}).newFinding(t.Context(), "open", "", gadgetError("open", frame.Status{State: state, Reason: "why"}))
		if err != nil || f.Code != want || (f.Status == OK) != (want == "") || f.Status == Missing {
			t.Errorf("state %q: %+v, %v", state, f, err)
		}
	}
}
