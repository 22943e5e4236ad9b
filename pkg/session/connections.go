package session

import (
	"bufio"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"k8s.io/client-go/tools/remotecommand"

	"github.com/osc-debug/osc-debug/pkg/kube/exec"
	"github.com/osc-debug/osc-debug/pkg/session/record"
)

// established is the state of an open connection in /proc/net/tcp (include/net/tcp_states.h).
const established = "01"

// Longest output that is read of a sandbox, in bytes. A line of the table has 150 bytes.
const (
	maxTable  = 8 << 20
	maxStderr = 4 << 10
)

// Connections counts the open TCP connections to some ports of a sandbox pod. It reads the pod's
// /proc/net/tcp and tcp6 through the sidecar.
func Connections(ctx context.Context, client exec.Client, namespace, pod string, ports []int32) (int, error) {
	out, errOut := exec.Limited{Limit: maxTable}, exec.Limited{Limit: maxStderr, Cut: true}
	err := client.Stream(ctx, namespace, pod, record.Sidecar, []string{"cat", "/proc/net/tcp", "/proc/net/tcp6"}, remotecommand.StreamOptions{Stdout: &out, Stderr: &errOut})
	if err != nil {
		return 0, fmt.Errorf("count connections of pod %s: %w %s", pod, err, strings.TrimSpace(errOut.String()))
	}
	return countEstablished(out.String(), ports), nil
}

// countEstablished counts the lines of /proc/net/tcp and tcp6 that are open connections to local
// ports.
func countEstablished(table string, ports []int32) (n int) {
	for lines := bufio.NewScanner(strings.NewReader(table)); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 4 || fields[3] != established {
			continue
		}
		_, hex, _ := strings.Cut(fields[1], ":")
		if port, err := strconv.ParseInt(hex, 16, 32); err == nil && slices.Contains(ports, int32(port)) {
			n++
		}
	}
	return n
}
