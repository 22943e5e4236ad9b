package reason

import (
	"slices"
	"sync"
)

// Table returns all reasons: of the preflight, of sessions, of the guard, of doctor, of other commands.
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

// row returns the row of a code. For a code without a row, the code itself is the sentence; a test
// ensures that there are none.
func row(code Code) Reason {
	if r, ok := byCode()[code]; ok {
		return r
	}
	return Reason{Code: code, Kind: Failure, Sentence: string(code)}
}
