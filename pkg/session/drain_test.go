package session

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// Routers that may be late get that time too, unless each of them is asked.
func TestTheDrainWaitsForRoutersThatAreLate(t *testing.T) {
	const drain, late = 8 * time.Second, 40 * time.Second
	for all, want := range map[bool]time.Duration{false: drain + late, true: drain} {
		synctest.Test(t, func(t *testing.T) {
			begin := time.Now()
			if err := Drain(drain, nil, all, nil)(t.Context(), late); err != nil {
				t.Error(err)
			}
			if took := time.Since(begin); took != want {
				t.Errorf("all asked: %v: it took %s, wanted %s", all, took, want)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if err := Drain(drain, nil, all, nil)(ctx, late); err == nil {
				t.Error("it waits for longer than its context")
			}
		})
	}
}
