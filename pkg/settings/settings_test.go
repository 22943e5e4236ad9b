package settings

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/osc-debug/osc-debug/pkg/reason"
)

func TestParse(t *testing.T) {
	got, err := Parse("home", map[string]string{"namespaces": " shop  team ", "drain": "12s", "maxDuration": "1h", "runtimeClasses": "kata", "images": ""})
	if err != nil {
		t.Fatal(err)
	}
	want := Defaults()
	want.Namespaces, want.Drain, want.MaxDuration, want.RuntimeClasses = []string{"shop", "team"}, 12*time.Second, time.Hour, []string{"kata"}
	want.Images = []string{}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, wanted %+v", got, want)
	}
	if slow, err := Parse("home", map[string]string{"reloadInterval": "1m", "runtimeClasses": "kata"}); err != nil || slow.Drain != 63*time.Second {
		t.Errorf("a sandbox stays longer than the router may take to reload: drain %s, %v", slow.Drain, err)
	}
	for says, data := range map[string]map[string]string{
		"no duration":            {"grace": "soon", "runtimeClasses": "kata"},
		"-1s":                    {"drain": "-1s", "runtimeClasses": "kata"},
		"maxduration: this key":  {"maxduration": "1h", "runtimeClasses": "kata"}, // a typing error must not lift a limit
		"up to 3h50m":            {"maxDuration": "5h", "runtimeClasses": "kata"},
		"maxDuration":            {"maxDuration": "0s", "runtimeClasses": "kata"},
		"name at least one":      {"runtimeClasses": " "},
		"runtimeClasses: name":   {"drain": "8s"},
		"namespaces: * stands a": {"namespaces": "* shop", "runtimeClasses": "kata"},
	} {
		if _, err := Parse("home", data); !reason.Is(err, reason.SettingsInvalid) || !strings.Contains(err.Error(), says) {
			t.Errorf("%v: wanted %s with %q, got %v", data, reason.SettingsInvalid, says, err)
		}
	}
}
