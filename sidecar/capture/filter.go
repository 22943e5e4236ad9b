package capture

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// tcpdump compiles filters. It is in the sidecar's image.
const tcpdump = "tcpdump"

// Parts of classic BPF programs.
const (
	opReturn  = 0x06 // BPF_RET | BPF_K
	maxFilter = 4096 // BPF_MAXINSNS, instructions
)

// acceptAll is a filter that keeps snaplen bytes of each packet.
func acceptAll(snaplen int) []unix.SockFilter {
	return []unix.SockFilter{{Code: opReturn, K: uint32(snaplen)}}
}

// compile compiles a filter in tcpdump's language for an interface. It opens the interface, because a filter for a file is
// another: the kernel takes VLAN tags off before a capture, and only a live capture knows a packet's direction.
func compile(ctx context.Context, device string, snaplen int, filter string) ([]unix.SockFilter, error) {
	if strings.TrimSpace(filter) == "" {
		return acceptAll(snaplen), nil
	}
	var out, errOut bytes.Buffer
	command := exec.CommandContext(ctx, tcpdump, "-i", device, "-s", strconv.Itoa(snaplen), "-ddd", "--", filter)
	command.Stdout, command.Stderr = &out, &errOut
	if err := command.Run(); err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return nil, fmt.Errorf("the filter cannot be used at interface %s: %s", device, strings.TrimPrefix(lastLine(errOut.String()), tcpdump+": "))
		}
		return nil, fmt.Errorf("run tcpdump, which compiles filters: %w", err)
	}
	return parseProgram(out.String())
}

// parseProgram reads the program that tcpdump -ddd prints: the number of its instructions, and the four numbers of each.
func parseProgram(text string) ([]unix.SockFilter, error) {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	n, err := strconv.Atoi(lines[0])
	if err != nil || n < 1 || n > maxFilter || n != len(lines)-1 {
		return nil, fmt.Errorf("tcpdump printed no filter: %.80q", text)
	}
	var out []unix.SockFilter
	for _, line := range lines[1:] {
		var i unix.SockFilter
		if _, err := fmt.Sscanf(line, "%d %d %d %d", &i.Code, &i.Jt, &i.Jf, &i.K); err != nil {
			return nil, fmt.Errorf("tcpdump printed no instruction: %.80q: %w", line, err)
		}
		out = append(out, i)
	}
	return out, nil
}

// lastLine returns the last line of a text: tcpdump prints warnings before its error.
func lastLine(text string) string {
	text = strings.TrimSpace(text)
	return text[strings.LastIndexByte(text, '\n')+1:]
}
