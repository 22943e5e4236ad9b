package session

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osc-debug/osc-debug/pkg/reason"
)

// A pod is not created for good if its last Event tells of a failure that happened again and again, until now.
func TestCreationFailure(t *testing.T) {
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	ago := func(seconds int) metav1.Time { return metav1.NewTime(now.Add(-time.Duration(seconds) * time.Second)) }
	event := func(pod, why string, times int32, first, last int) corev1.Event {
		return corev1.Event{InvolvedObject: corev1.ObjectReference{Name: pod}, Reason: why, Message: "because " + why + "\n", Count: times,
			FirstTimestamp: ago(first), LastTimestamp: ago(last)}
	}
	scheduled := event("a", "Scheduled", 1, 25, 25)
	series := corev1.Event{InvolvedObject: corev1.ObjectReference{Name: "a"}, Reason: "FailedMount", Message: "because FailedMount", EventTime: metav1.MicroTime(ago(20)),
		Series: &corev1.EventSeries{Count: 3, LastObservedTime: metav1.MicroTime(ago(2))}}
	for _, c := range []struct {
		name   string
		events []corev1.Event
		want   string // state; "" for none
	}{
		{"no Event", nil, ""},
		{"scheduled", []corev1.Event{scheduled}, ""},
		{"a volume cannot be mounted", []corev1.Event{scheduled, event("a", "FailedMount", 5, 24, 5)}, "FailedMount"},
		{"the VM cannot be started", []corev1.Event{event("a", "FailedCreatePodSandBox", 2, 20, 5), scheduled}, "FailedCreatePodSandBox"},
		{"of another pod of the sandbox", []corev1.Event{scheduled, event("b", "FailedMount", 5, 24, 5)}, "FailedMount"},
		{"of a pod that is created", []corev1.Event{scheduled, event("c", "FailedMount", 5, 24, 5)}, ""},
		{"once", []corev1.Event{scheduled, event("a", "FailedMount", 1, 5, 5)}, ""},
		{"passed, and the image is pulled", []corev1.Event{scheduled, event("a", "FailedMount", 3, 24, 20), event("a", "Pulling", 1, 15, 15)}, ""},
		{"passed, and the VM starts without an Event", []corev1.Event{scheduled, event("a", "FailedMount", 2, 24, 23)}, ""},
		{"something else", []corev1.Event{scheduled, event("a", "Unhealthy", 9, 20, 1)}, ""},
		{"in a series", []corev1.Event{scheduled, series}, "FailedMount"},
	} {
		got := creationFailure(c.events, map[string]string{"a": "web", "b": "web"}, now)
		switch {
		case c.want == "" && got != nil:
			t.Errorf("%s: %v", c.name, got)
		case c.want != "" && (!reason.Is(got, reason.ContainerStuck) || !strings.HasSuffix(got.Error(), c.want+": because "+c.want)):
			t.Errorf("%s: %v", c.name, got)
		}
	}
}
