//go:build e2e && !soak

package e2e

// full: 'make soak' takes every instant of the kill matrices and every case of the long tables,
// and holds what took time against its limits. 'make test' takes a sample, and no time.
const full = false
