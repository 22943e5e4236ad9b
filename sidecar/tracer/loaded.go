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
	err := listLoaded(ebpf.ProgramGetNextID, func(id ebpf.ProgramID) {
		p, err := ebpf.NewProgramFromID(id)
		if err != nil {
			return // it is gone
		}
		defer p.Close()
		if info, err := p.Info(); err == nil {
			fmt.Fprintf(out, "program %d %s %s\n", id, info.Type, info.Name)
		}
	})
	return errors.Join(err, listLoaded(ebpf.MapGetNextID, func(id ebpf.MapID) {
		m, err := ebpf.NewMapFromID(id)
		if err != nil {
			return
		}
		defer m.Close()
		if info, err := m.Info(); err == nil {
			fmt.Fprintf(out, "map %d %s %s\n", id, info.Type, info.Name)
		}
	}))
}

// listLoaded calls do for each ID that next finds, in order.
func listLoaded[ID ~uint32](next func(ID) (ID, error), do func(ID)) error {
	for id := ID(0); ; {
		following, err := next(id)
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("list what is loaded after %d: %w", id, err)
		}
		id = following
		do(id)
	}
}
