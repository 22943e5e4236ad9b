package trace

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/osc-debug/osc-debug/pkg/reason"
)

// What a sandbox sends of a file is checked: it is not longer than it says and than the limit, and has its checksum. A
// stream that was cut can go on.
func TestWhatIsFetched(t *testing.T) {
	sum := sha256.Sum256([]byte("hello"))
	end := fmt.Sprintf("{\"size\":5,\"sum\":%q}\n", hex.EncodeToString(sum[:]))
	for name, c := range map[string]struct {
		streams []string // one after the other
		refused bool     // for good
		whole   bool
	}{
		"whole":                     {[]string{"{\"size\":5}\nhello" + end}, false, true},
		"cut and resumed":           {[]string{"{\"size\":5}\nhe", "{\"size\":5}\nllo" + end}, false, true},
		"cut before the end's line": {[]string{"{\"size\":5}\nhello", "{\"size\":5}\n" + end}, false, true},
		"grown meanwhile":           {[]string{"{\"size\":3}\nhe", "{\"size\":5}\nllo" + end}, false, true},
		"cut":                       {[]string{"{\"size\":5}\nhe"}, false, false},
		"nothing":                   {[]string{""}, false, false},
		"no line":                   {[]string{strings.Repeat("x", 1<<20)}, false, false},
		"another checksum":          {[]string{"{\"size\":5}\nhallo" + end}, true, false},
		"over the limit":            {[]string{"{\"size\":101}\nhello"}, true, false},
		"shorter than before":       {[]string{"{\"size\":5}\nhell", "{\"size\":2}\n" + end}, true, false},
		"a negative size":           {[]string{"{\"size\":-5}\nhello"}, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			file, err := os.Create(filepath.Join(t.TempDir(), "part"))
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			got := &fetched{file: file, limit: 100}
			for _, stream := range c.streams {
				err = got.read(strings.NewReader(stream), Place{Path: "/scratch/dump"})
			}
			if (err == nil) != c.whole || reason.Is(err, reason.FileNotCopied) != c.refused {
				t.Errorf("%v", err)
			}
			if info, err := file.Stat(); err != nil || info.Size() > 100 || info.Size() != got.size {
				t.Errorf("%d bytes written, %d counted: %v", info.Size(), got.size, err)
			}
		})
	}
}
