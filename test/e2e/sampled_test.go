//go:build e2e && !soak

package e2e

// full says whether all cases run. 'make soak' runs every instant of the kill matrices and every
// case of the long tables, and checks time limits. 'make test' runs a sample and checks none.
const full = false
