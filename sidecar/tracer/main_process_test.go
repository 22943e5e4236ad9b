package tracer

import (
	"context"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/osc-debug/osc-debug/pkg/trace/frame"
)

// TestMain is the supervised recorder if the test binary was started as one: with the folder of a recording, where it
// writes its state, and with how it ends.
func TestMain(m *testing.M) {
	if len(os.Args) != 4 || os.Args[1] != "recorder" {
		os.Exit(m.Run())
	}
	stopped := make(chan os.Signal, 1)
	signal.Notify(stopped, syscall.SIGTERM)
	if err := writeState(os.Args[2], &frame.State{Attached: time.Unix(1, 0)}); err != nil {
		os.Exit(1)
	}
	switch os.Args[3] {
	case "killed":
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	case "fails":
		os.Exit(3)
	}
	<-stopped
	_ = os.WriteFile(filepath.Join(os.Args[2], "stopped"), nil, 0o600)
}

// The sidecar's main process goes on when its recorder is killed or fails, says so in the recording, and keeps what the
// state had. When it has to stop, it stops the recorder first.
func TestASupervisedRecorder(t *testing.T) {
	for how, failed := range map[string]string{"killed": "the recorder ended: signal: killed", "fails": "the recorder ended: exit status 3", "works": ""} {
		t.Run(how, func(t *testing.T) {
			dir := t.TempDir()
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			done := make(chan error, 1)
			go func() { done <- Supervise(ctx, dir, "recorder", dir, how) }()
			for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
				s, err := ReadState(dir)
				if err == nil && s.Failed == failed && s.Attached.Equal(time.Unix(1, 0)) {
					break
				}
				if time.Now().After(deadline) {
					t.Fatalf("state %+v: %v", s, err)
				}
			}
			select {
			case err := <-done:
				t.Fatalf("the main process ended: %v", err)
			default:
			}
			stop()
			if err := <-done; err != nil {
				t.Error(err)
			}
			if _, err := os.Stat(filepath.Join(dir, "stopped")); (err == nil) != (how == "works") {
				t.Errorf("the recorder was stopped: %v", err)
			}
		})
	}
}
