package route

import (
	"fmt"

	"github.com/osc-debug/osc-debug/pkg/reason"
)

// Percent is a share of a Route's new clients, 0 to 100, as users give and read it.
type Percent float64

// NewPercent returns an error with reason PercentOutOfRange unless p is from 0 to 100. Only this
// function checks the range: a Percent is always valid.
func NewPercent(p float64) (Percent, error) {
	if !(p >= 0 && p <= 100) { // also true for NaN
		return 0, reason.New(reason.PercentOutOfRange, "percent", fmt.Sprintf("%g", p))
	}
	return Percent(p), nil
}

// Share converts the percentage to a Share.
func (p Percent) Share() Share { return Share(p / 100) }

// String formats the percentage with up to four significant digits.
func (p Percent) String() string { return fmt.Sprintf("%.4g %%", float64(p)) }

// Share is a share of a Route's new clients, 0 to 1, as used in calculations.
type Share float64

// Percent converts the share to a Percent.
func (s Share) Percent() Percent { return Percent(100 * s) }
