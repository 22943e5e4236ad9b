//go:build e2e && soak

package e2e

// full: see sampled_test.go.
const full = true
