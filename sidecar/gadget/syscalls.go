package gadget

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/cilium/ebpf"

	describe "github.com/osc-debug/osc-debug/pkg/trace/gadget"
)

var syscallsGadget = implementation{
	load: loadSyscalls,
	tiers: []tier{{name: rawTracepoints, required: []attachment{
		{to: "sys_exit", program: "syscalls_exit"}, {to: "sched_process_exit", program: "syscalls_thread_exit"}, {to: "sched_process_exec", program: "syscalls_exec"},
		{to: "sys_enter", program: "syscalls_enter"},
	}}},
	totals: readSyscalls,
}

// compatCall is the bit by which the programs tell the numbers of the 32-bit table apart.
const compatCall = 512

// compatMark marks the names of the calls of the 32-bit table.
const compatMark = " (32-bit)"

// call is what is known of a system call.
type call struct {
	name      string
	arguments []string // that matter: see describe.ArgumentsOf
}

// callTable returns all system calls by number.
var callTable = sync.OnceValue(func() *[2 * compatCall]call {
	var table [2 * compatCall]call
	for nr := range uint32(compatCall) {
		name := cmp.Or(syscallNames[nr], fmt.Sprintf("call %d", nr))
		table[nr] = call{name, describe.ArgumentsOf(name)}
		name = cmp.Or(compatNames[nr], fmt.Sprintf("call %d", nr))
		table[nr|compatCall] = call{name + compatMark, describe.ArgumentsOf(name)}
	}
	return &table
})

// callOf returns what is known of the system call of a number, with compatCall for those of the 32-bit table.
func callOf(nr uint32) call {
	if table := callTable(); nr < uint32(len(table)) {
		return table[nr]
	}
	return call{name: fmt.Sprintf("call %d", nr)} // someone wrote into a recording
}

// readSyscalls returns what was counted of each system call, the most frequent first, and how many calls that are.
func readSyscalls(c *ebpf.Collection) (out []total, err error) {
	failed := map[uint32]map[string]uint64{}
	var key syscallsSyscallError
	var perCPU []uint64
	for i := c.Maps["errors"].Iterate(); ; {
		if !i.Next(&key, &perCPU) {
			if err := i.Err(); err != nil {
				return nil, fmt.Errorf("read the errors of system calls: %w", err)
			}
			break
		}
		of := failed[uint32(key.Nr)]
		if of == nil {
			of = map[string]uint64{}
			failed[uint32(key.Nr)] = of
		}
		of[errnoName(int32(key.Error))] += sum(perCPU)
	}
	stats := c.Maps["stats"]
	for nr := range stats.MaxEntries() {
		var perCPU []syscallsSyscallStats
		if err := stats.Lookup(nr, &perCPU); err != nil {
			return nil, errors.Join(fmt.Errorf("read the counts of system calls: %w", err))
		}
		s := &describe.Syscalls{Name: callOf(nr).name, Errors: failed[nr]}
		for _, one := range perCPU {
			s.Count += one.Count
			s.Total += time.Duration(one.Total)
			if s.Buckets == nil {
				s.Buckets = make([]uint64, len(one.Buckets))
			}
			for i, n := range one.Buckets {
				s.Buckets[i] += n
			}
		}
		if s.Count > 0 {
			s.Buckets = withoutZeros(s.Buckets)
			out = append(out, total{s, s.Count})
		}
	}
	slices.SortFunc(out, func(a, b total) int { return cmp.Compare(b.events, a.events) })
	return out, nil
}

// withoutZeros cuts the zeros at the end of a list.
func withoutZeros(list []uint64) []uint64 {
	for len(list) > 0 && list[len(list)-1] == 0 {
		list = list[:len(list)-1]
	}
	return list
}

func sum(list []uint64) (n uint64) {
	for _, one := range list {
		n += one
	}
	return n
}
