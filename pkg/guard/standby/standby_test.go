package standby

import (
	"testing"

	"github.com/osc-debug/osc-debug/pkg/settings"
)

func TestCovers(t *testing.T) {
	some, all := Status{Namespaces: []string{"shop"}}, Status{Namespaces: []string{settings.AllNamespaces}}
	if !some.Covers("shop") || some.Covers("team") || !all.Covers("team") || (Status{}).Covers("shop") {
		t.Error("a guard must cover the namespaces in its status, or all")
	}
}
