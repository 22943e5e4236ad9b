package session_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/session"
)

// Each error that ends a session has the code that its caller goes by, and says what it was given.
func TestErrorsThatEndASession(t *testing.T) {
	for _, c := range []struct {
		err  error
		want reason.Code
		text string
	}{
		{&session.Expired{TTL: 90 * time.Minute}, reason.SessionExpired, "1h30m0s"},
		{&session.Timeout{What: "proof", Took: time.Minute}, reason.TimedOut, "proof"},
		{&session.RolledOut{Program: "deployment/web", Pod: "web-9e8d-0"}, reason.RolloutEndedSession, "web-9e8d-0"},
		{&session.Unready{Cause: reason.New(reason.PodDeleted, "pod", "web-0")}, reason.PodDeleted, "web-0"},
		{&session.Unready{Cause: errors.New("no endpoint")}, reason.SandboxUnready, ""},
	} {
		if wrapped := fmt.Errorf("session: %w", c.err); reason.CodeOf(wrapped) != c.want || !strings.Contains(c.err.Error(), c.text) {
			t.Errorf("%T: %v with code %q, want %q and %q", c.err, c.err, reason.CodeOf(wrapped), c.want, c.text)
		}
	}
	cause := errors.New("no endpoint")
	if !errors.Is(&session.Unready{Cause: cause}, cause) {
		t.Error("the cause of an unready sandbox is lost")
	}
}
