package main

import (
	"fmt"
	"os"
	"os/exec"
	"sort"
	"time"
)

// program measures the size of the command and how long it takes to start.
func (b *bench) program() error {
	info, err := os.Stat(b.CLI)
	if err != nil {
		return err
	}
	mib := float64(info.Size()) / (1 << 20)
	b.judge("size of the stripped command", mib <= 60, fmt.Sprintf("%.1f MB", mib), "<= 60 MB")
	var times []time.Duration
	for range 21 {
		begin := time.Now()
		if err := exec.CommandContext(b.ctx, b.CLI, "version").Run(); err != nil {
			return err
		}
		times = append(times, time.Since(begin))
	}
	sort.Slice(times, func(i, j int) bool { return times[i] < times[j] })
	median := times[len(times)/2]
	b.judge("osc-debug version, median of 21", median <= 60*time.Millisecond, median.Round(time.Millisecond).String(), "<= 60ms")
	return nil
}
