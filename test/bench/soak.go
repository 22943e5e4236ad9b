package main

import (
	"fmt"
	"time"

	"github.com/osc-debug/osc-debug/test/load"
	"github.com/osc-debug/osc-debug/test/sample"
)

const (
	soakSessions = 10
	soakRate     = 500 // requests per second
)

// soak runs sessions in a row under load.
func (b *bench) soak() error {
	if err := b.deployExample(); err != nil {
		return err
	}
	run := load.Start(sample.Load(soakRate + soakRate/8))
	defer run.Stop()
	for n := 1; n <= soakSessions; n++ {
		cmd, err := b.startSession("--weight", "100", "--exact")
		if err != nil {
			return err
		}
		time.Sleep(2 * time.Second)
		if err := endSession(cmd); err != nil {
			return err
		}
		fmt.Printf("session %2d  %s, %.0f requests/s\n", n, run.Sums(), run.Rate())
	}
	rate := run.Rate()
	sums := run.Stop()
	b.judge(fmt.Sprintf("%d sessions 0 -> 100 -> 0: failed of %d requests", soakSessions, sums.Total()), sums.Failed == 0, fmt.Sprint(sums.Failed), "0")
	b.judge("requests per second meanwhile", rate >= soakRate, fmt.Sprintf("%.0f", rate), fmt.Sprintf(">= %d", soakRate))
	return nil
}
