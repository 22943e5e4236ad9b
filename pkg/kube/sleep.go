package kube

import (
	"context"
	"math/rand/v2"
	"time"
)

// Sleep waits for d. If ctx ends first, it returns the error of ctx.
func Sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// Backoff waits before the retry that follows attempt try, counted from 1: first, doubled with each
// attempt, plus a jitter of up to half of that. If ctx ends before, it returns the error of ctx.
func Backoff(ctx context.Context, first time.Duration, try int) error {
	wait := first << (try - 1)
	return Sleep(ctx, wait+rand.N(wait/2))
}
