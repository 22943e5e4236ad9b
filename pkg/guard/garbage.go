package guard

import (
	"os"
	"runtime/debug"
)

// gcPercent starts a garbage collection when the heap has grown by half, instead of doubled. Most of a guard's memory is
// garbage from a thousand sessions that end at once.
const gcPercent = 50

// A limit makes garbage collections more frequent near it. Tenants who make thousands of large objects then cost time before
// they cost memory. The pages of the program itself come to that, some 22 MiB. The connections of a namespace's watches
// need memory too: a limit that does not grow with their number would make the guard collect garbage all the time.
const (
	memoryLimit        = 36 << 20  // bytes, with up to includedNamespaces
	namespaceMemory    = 256 << 10 // bytes, of each namespace beyond
	mostMemoryLimit    = 96 << 20  // bytes: the manifests give the pod 128 MiB
	includedNamespaces = 8
)

// LimitMemory sets when the process collects garbage, for a number of namespaces that it watches. The environment variables
// GOGC and GOMEMLIMIT override it.
func LimitMemory(namespaces int) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimitOf(namespaces))
	}
}

// memoryLimitOf returns the limit in bytes.
func memoryLimitOf(namespaces int) int64 {
	return int64(min(memoryLimit+namespaceMemory*max(0, namespaces-includedNamespaces), mostMemoryLimit))
}
