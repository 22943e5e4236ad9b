//go:build e2e && soak

package e2e

// full is explained in sampled_test.go.
const full = true
