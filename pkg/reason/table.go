package reason

import (
	"slices"
	"sync"
)

// Table lists all reasons, by where they come up.
func Table() []Reason {
	return slices.Concat(preflightReasons, sessionReasons, guardReasons, doctorReasons, commandReasons)
}

var byCode = sync.OnceValue(func() map[Code]Reason {
	rows := map[Code]Reason{}
	for _, r := range Table() {
		rows[r.Code] = r
	}
	return rows
})

// row is a code's row. A code without one says so; a test sees that there is none.
func row(code Code) Reason {
	if r, ok := byCode()[code]; ok {
		return r
	}
	return Reason{Code: code, Kind: Failure, Sentence: string(code)}
}
