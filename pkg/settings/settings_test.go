package settings

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/osc-debug/osc-debug/pkg/reason"
)

func TestParse(t *testing.T) {
	got, err := Parse("home", map[string]string{"namespaces": " shop  team ", "drain": "12s", "maxDuration": "1h", "runtimeClasses": "kata", "images": "", "annotations": "example.com\tteam.example.com"})
	if err != nil {
		t.Fatal(err)
	}
	want := Defaults()
	want.Namespaces, want.Drain, want.MaxDuration, want.RuntimeClasses = []string{"shop", "team"}, 12*time.Second, time.Hour, []string{"kata"}
	want.Images, want.Annotations = []string{}, []string{"example.com", "team.example.com"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, wanted %+v", got, want)
	}
	if slow, err := Parse("home", map[string]string{"reloadInterval": "1m", "runtimeClasses": "kata"}); err != nil || slow.Drain != 63*time.Second {
		t.Errorf("the default drain must be longer than reloadInterval: drain %s, %v", slow.Drain, err)
	}
	for text, data := range map[string]map[string]string{
		"is not a duration":      {"grace": "soon", "runtimeClasses": "kata"},
		"-1s":                    {"drain": "-1s", "runtimeClasses": "kata"},
		"maxduration: unknown":   {"maxduration": "1h", "runtimeClasses": "kata"}, // a misspelled limit must not be ignored
		"at most 3h50m":          {"maxDuration": "5h", "runtimeClasses": "kata"},
		"maxDuration":            {"maxDuration": "0s", "runtimeClasses": "kata"},
		"must name at least one": {"runtimeClasses": " "},
		"runtimeClasses: must":   {"drain": "8s"},
		"namespaces: * cannot":   {"namespaces": "* shop", "runtimeClasses": "kata"},
		"annotations: must list": {"annotations": "example.com/x", "runtimeClasses": "kata"},
	} {
		if _, err := Parse("home", data); !reason.Is(err, reason.SettingsInvalid) || !strings.Contains(err.Error(), text) {
			t.Errorf("%v: wanted %s with %q, got %v", data, reason.SettingsInvalid, text, err)
		}
	}
}
