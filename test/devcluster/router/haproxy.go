package router

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// haproxy runs HAProxy processes. With each reload a new process takes over the listening sockets
// from the old one, which finishes its connections and ends.
type haproxy struct {
	command                 string
	config, socket, pidFile string
}

// reload checks the written configuration, starts a process with it, and returns when the new process
// serves.
func (h *haproxy) reload() error {
	if out, err := exec.Command(h.command, "-c", "-q", "-f", h.config).CombinedOutput(); err != nil {
		return fmt.Errorf("haproxy rejects the configuration: %w: %s", err, out)
	}
	args := []string{"-db", "-f", h.config}
	old, _ := os.ReadFile(h.pidFile)
	if pid, err := strconv.Atoi(strings.TrimSpace(string(old))); err == nil && syscall.Kill(pid, 0) == nil {
		args = append(args, "-x", h.socket, "-sf", strconv.Itoa(pid))
	}
	cmd := exec.Command(h.command, args...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() {
		err := cmd.Wait()
		slog.Info("haproxy ended", "pid", cmd.Process.Pid, "error", err)
		ended <- err
	}()
	for deadline := time.Now().Add(startLimit); time.Now().Before(deadline); {
		if servingPID(h.socket) == cmd.Process.Pid {
			return os.WriteFile(h.pidFile, []byte(strconv.Itoa(cmd.Process.Pid)), 0o600)
		}
		select {
		case err := <-ended:
			return fmt.Errorf("haproxy ended during its start: %w", err)
		case <-time.After(10 * time.Millisecond):
		}
	}
	_ = cmd.Process.Kill() // nobody would end it
	return fmt.Errorf("haproxy process %d does not answer on %s after %s", cmd.Process.Pid, h.socket, startLimit)
}

// startLimit is how long a process may take until it serves: on a busy machine that can be long.
const startLimit = 30 * time.Second

// stop ends the serving process.
func (h *haproxy) stop() {
	if pid := servingPID(h.socket); pid > 0 {
		_ = syscall.Kill(pid, syscall.SIGTERM)
	}
}

var pidLine = regexp.MustCompile(`(?m)^Pid: ([0-9]+)$`)

// servingPID returns the PID of the process that answers on HAProxy's socket, 0 if none does. The
// socket's file alone does not show that, because a new process inherits the socket.
func servingPID(socket string) int {
	answer, err := ask(socket, "show info")
	if err != nil {
		return 0
	}
	found := pidLine.FindStringSubmatch(answer)
	if found == nil {
		return 0
	}
	pid, _ := strconv.Atoi(found[1])
	return pid
}

// ask sends a command to HAProxy's socket and returns the answer.
func ask(socket, command string) (string, error) {
	conn, err := net.DialTimeout("unix", socket, time.Second)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	if _, err := conn.Write([]byte(command + "\n")); err != nil {
		return "", err
	}
	answer, err := io.ReadAll(conn)
	return string(answer), err
}
