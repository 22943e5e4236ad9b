package route

import (
	"fmt"

	"github.com/osc-debug/osc-debug/pkg/reason"
)

// Percent is a part of a Route's new clients, 0 to 100. It is what users ask for and read.
type Percent float64

// NewPercent refuses what is no percentage. This is the only place that does: whoever has a
// Percent may go by it.
func NewPercent(p float64) (Percent, error) {
	if !(p >= 0 && p <= 100) { // so that NaN is refused too
		return 0, reason.New(reason.PercentOutOfRange, "percent", fmt.Sprintf("%g", p))
	}
	return Percent(p), nil
}

// Share is the same part as a number from 0 to 1.
func (p Percent) Share() Share { return Share(p / 100) }

// String has at most four digits that count.
func (p Percent) String() string { return fmt.Sprintf("%.4g %%", float64(p)) }

// Share is a part of a Route's new clients, 0 to 1. It is what the arithmetic goes by.
type Share float64

// Percent is the same part as a number from 0 to 100.
func (s Share) Percent() Percent { return Percent(100 * s) }
