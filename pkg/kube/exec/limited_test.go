package exec

import (
	"errors"
	"strings"
	"testing"
)

// Output is collected up to the limit, however it is cut into writes. What is over the limit is an error, or
// dropped.
func TestLimitedOutput(t *testing.T) {
	for _, c := range []struct {
		writes []string
		cut    bool
		want   string
		err    error
	}{
		{[]string{"abc", "de"}, false, "abcde", nil},
		{[]string{"abc", "de", "f"}, false, "abcde", ErrTooMuch},
		{[]string{"abcdefgh"}, false, "abcde", ErrTooMuch},
		{[]string{"abcdefgh", "i", "j"}, true, "abcde", nil},
		{[]string{strings.Repeat("x", 1<<20)}, true, "xxxxx", nil},
		{nil, false, "", nil},
	} {
		l := &Limited{Limit: 5, Cut: c.cut}
		var err error
		for _, w := range c.writes {
			n, failed := l.Write([]byte(w))
			if failed == nil && n != len(w) {
				t.Errorf("wrote %d of %d bytes without an error", n, len(w))
			}
			err = errors.Join(err, failed)
		}
		if l.String() != c.want || !errors.Is(err, c.err) {
			t.Errorf("%.40q: got %q, %v; want %q, %v", c.writes, l, err, c.want, c.err)
		}
	}
}
