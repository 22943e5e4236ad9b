package session

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// Routers that may be late get more time, unless each of them is probed.
func TestTheDrainWaitsForRoutersThatAreLate(t *testing.T) {
	const drain, late = 8 * time.Second, 40 * time.Second
	for allProbed, want := range map[bool]time.Duration{false: drain + late, true: drain} {
		synctest.Test(t, func(t *testing.T) {
			begin := time.Now()
			if err := Drain(drain, nil, allProbed, nil)(t.Context(), late); err != nil {
				t.Error(err)
			}
			if took := time.Since(begin); took != want {
				t.Errorf("all probed: %v: took %s, want %s", allProbed, took, want)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if err := Drain(drain, nil, allProbed, nil)(ctx, late); err == nil {
				t.Error("it waits longer than its context")
			}
		})
	}
}
