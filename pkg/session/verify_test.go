package session

import (
	"testing"

	"github.com/osc-debug/osc-debug/pkg/route"
)

// Where answers do not show their backend, the number of requests follows the share. A share of 0 asks for no more than
// the fewest: no request can ever show that the sandbox answers.
func TestUnpinnedRequests(t *testing.T) {
	t.Parallel()
	for asked, want := range map[route.Percent]int{0: 10, 0.4: 200, 2.5: 200, 5: 100, 25: 20, 50: 10, 100: 10} {
		if n := unpinnedRequests(asked); n != want {
			t.Errorf("%g %%: %d requests, wanted %d", asked, n, want)
		}
	}
}
