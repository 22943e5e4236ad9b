package cli

import (
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// The scripts in testdata/script behave like a terminal session with the command.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"osc-debug": func() { os.Exit(Main(os.Args, os.Stdin, os.Stdout, os.Stderr)) },
		// exits CODE COMMAND…: succeeds when the command's exit code is CODE.
		"osc-debug-code": func() {
			if code := Main(append([]string{"osc-debug"}, os.Args[2:]...), os.Stdin, os.Stdout, os.Stderr); os.Args[1] != itoa(code) {
				println("exit code", code, "instead of", os.Args[1])
				os.Exit(1)
			}
		},
	})
}

func itoa(code int) string {
	if code < 10 {
		return string(rune('0' + code))
	}
	return itoa(code/10) + itoa(code%10)
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata/script"})
}
