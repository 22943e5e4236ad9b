package guard

import "testing"

// The limit grows with the namespaces, but stays below the memory that the manifests give the guard's pod.
func TestMemoryLimit(t *testing.T) {
	for namespaces, want := range map[int]int64{0: 36, 8: 36, 12: 37, 72: 52, 1000: 96} {
		if got := memoryLimitOf(namespaces); got != want<<20 {
			t.Errorf("%d namespaces: %d bytes, want %d MiB", namespaces, got, want)
		}
	}
}
