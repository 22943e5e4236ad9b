// Package kernels boots kernels of several Debian releases in VMs and runs the tracer's gadgets there. Its tests
// have build tag kernels.
package kernels
