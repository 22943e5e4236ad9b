package tracer

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/cilium/ebpf"
)

// ListLoaded writes the BPF programs and maps that the sandbox's kernel has, a line each: kind, ID, type and name.
func ListLoaded(out io.Writer) error {
	for id := ebpf.ProgramID(0); ; {
		next, err := ebpf.ProgramGetNextID(id)
		if errors.Is(err, os.ErrNotExist) {
			break
		}
		if err != nil {
			return fmt.Errorf("list BPF programs: %w", err)
		}
		id = next
		if p, err := ebpf.NewProgramFromID(id); err == nil { // it may be gone meanwhile
			if info, err := p.Info(); err == nil {
				fmt.Fprintf(out, "program %d %s %s\n", id, info.Type, info.Name)
			}
			p.Close()
		}
	}
	for id := ebpf.MapID(0); ; {
		next, err := ebpf.MapGetNextID(id)
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("list BPF maps: %w", err)
		}
		id = next
		if m, err := ebpf.NewMapFromID(id); err == nil {
			if info, err := m.Info(); err == nil {
				fmt.Fprintf(out, "map %d %s %s\n", id, info.Type, info.Name)
			}
			m.Close()
		}
	}
}
