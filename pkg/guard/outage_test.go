package guard

import (
	"context"
	"errors"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// A sandbox outlives its restored Route the longer, the longer Routes were not to be seen.
func TestRoutersAreLateAfterAnOutage(t *testing.T) {
	begin := time.Unix(1_000_000, 0)
	at := func(s float64) time.Time { return begin.Add(time.Duration(s * float64(time.Second))) }
	refused := errors.New("connection refused")
	type event struct {
		at  float64
		err error
	}
	for name, c := range map[string]struct {
		events []event
		now    float64
		want   time.Duration
	}{
		"never":                      {nil, 5, 0},
		"served":                     {[]event{{0, nil}, {1, nil}}, 5, 0},
		"a moment":                   {[]event{{0, refused}, {1, nil}}, 1.5, 1500 * time.Millisecond},
		"a moment, long ago":         {[]event{{0, refused}, {1, nil}}, 9, 0},
		"a minute":                   {[]event{{0, refused}, {30, refused}, {60, nil}}, 60, time.Minute},
		"still":                      {[]event{{0, refused}, {8, refused}}, 10, 20 * time.Second},
		"a minute, and a moment":     {[]event{{0, refused}, {60, nil}, {61, refused}, {62, nil}}, 62, 58 * time.Second},
		"refused for good":           {[]event{{0, apierrors.NewForbidden(schema.GroupResource{Group: "route.openshift.io", Resource: "routes"}, "", nil)}}, 60, 0},
		"whoever asked gave up":      {[]event{{0, context.Canceled}}, 60, 0},
		"routes' own server is away": {[]event{{0, apierrors.NewServiceUnavailable("")}, {4, nil}}, 4, 8 * time.Second},
	} {
		o := &outage{}
		for _, e := range c.events {
			o.note(e.err, at(e.at))
		}
		if got := o.late(at(c.now)); got != c.want {
			t.Errorf("%s: %s, wanted %s", name, got, c.want)
		}
	}
}
