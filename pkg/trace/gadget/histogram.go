package gadget

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// histogramWidth is the length of the longest bar, in characters.
const histogramWidth = 40

// formatBound formats the bound of a bucket: short ones exactly.
func formatBound(d time.Duration) string {
	if d < time.Microsecond {
		return d.String()
	}
	return formatDuration(d)
}

// Histogram draws how long events took, a line for each power of two: the n-th bucket counts those from 2^n ns to less than
// 2^(n+1) ns, from 0. It returns "" if there are none.
func Histogram(buckets []uint64) string {
	var out strings.Builder
	largest := slices.Max(append([]uint64{1}, buckets...))
	first := slices.IndexFunc(buckets, func(n uint64) bool { return n > 0 })
	last := len(buckets)
	for last > 0 && buckets[last-1] == 0 {
		last--
	}
	for i := max(first, 0); i < last; i++ {
		bar := int(buckets[i] * histogramWidth / largest)
		if buckets[i] > 0 && bar == 0 {
			bar = 1
		}
		fmt.Fprintf(&out, "  %9s  %9d  %s\n", "< "+formatBound(time.Duration(1)<<(i+1)), buckets[i], strings.Repeat("#", bar))
	}
	return out.String()
}
