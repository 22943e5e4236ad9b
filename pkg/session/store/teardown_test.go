package store

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// deletions notes the deletions of a sandbox's objects, and answers them.
type deletions struct {
	sent    []string
	answers map[string]error
}

func (d *deletions) part(kind, name string, terminating bool) Part {
	p := Part{ObjectMeta: &metav1.ObjectMeta{Name: name, UID: "uid"}, Kind: kind}
	if kind == "pod" {
		p.Pod = &corev1.Pod{ObjectMeta: *p.ObjectMeta}
	}
	if terminating {
		p.DeletionTimestamp = &metav1.Time{}
	}
	p.remove = func(_ context.Context, name string, o metav1.DeleteOptions) error {
		if o.Preconditions == nil || *o.Preconditions.UID != "uid" {
			return errors.New("the deletion does not name the object's UID")
		}
		d.sent = append(d.sent, p.String())
		return d.answers[p.String()]
	}
	return p
}

// A sandbox's Service is deleted after its pods are gone, and only objects that are ours are deleted.
func TestASandboxIsDeletedInOrder(t *testing.T) {
	notFound := &apierrors.StatusError{ErrStatus: metav1.Status{Reason: metav1.StatusReasonNotFound, Code: http.StatusNotFound}}
	forbidden := errors.New("forbidden")
	gone := func() ([]string, error) { return nil, nil }
	for name, c := range map[string]struct {
		answers     map[string]error
		terminating bool // pod/b
		foreign     string
		wait        func() ([]string, error)
		sent, left  []string
		deleted     bool
		err         error
	}{
		"waits for the pods":             {wait: gone, sent: []string{"pod/a", "pod/b", "service/s"}, deleted: true},
		"does not wait":                  {sent: []string{"pod/a", "pod/b"}, left: []string{"pod/a", "pod/b", "service/s"}, deleted: true},
		"a pod ends already":             {terminating: true, sent: []string{"pod/a"}, left: []string{"pod/a", "pod/b", "service/s"}, deleted: true},
		"the pods are gone":              {answers: map[string]error{"pod/a": notFound, "pod/b": notFound}, sent: []string{"pod/a", "pod/b", "service/s"}, deleted: true},
		"everything is gone":             {answers: map[string]error{"pod/a": notFound, "pod/b": notFound, "service/s": notFound}, sent: []string{"pod/a", "pod/b", "service/s"}},
		"a pod is not ours":              {foreign: "pod/b", wait: gone, sent: []string{"pod/a", "service/s"}, deleted: true},
		"the Service is not ours":        {foreign: "service/s", wait: gone, sent: []string{"pod/a", "pod/b"}, deleted: true},
		"a pod cannot be deleted":        {answers: map[string]error{"pod/a": forbidden}, wait: gone, sent: []string{"pod/a", "pod/b"}, left: []string{"pod/a", "pod/b", "service/s"}, deleted: true, err: forbidden},
		"the Service cannot be deleted":  {answers: map[string]error{"service/s": forbidden}, wait: gone, sent: []string{"pod/a", "pod/b", "service/s"}, left: []string{"service/s"}, deleted: true, err: forbidden},
		"a pod does not end in the time": {wait: func() ([]string, error) { return []string{"pod/b"}, context.DeadlineExceeded }, sent: []string{"pod/a", "pod/b"}, left: []string{"pod/b", "service/s"}, deleted: true, err: context.DeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			d := &deletions{answers: c.answers}
			parts := []Part{d.part("service", "s", false), d.part("pod", "a", false), d.part("pod", "b", c.terminating)}
			down := teardown{wait: c.wait, ours: func(_ context.Context, p Part) (bool, error) { return p.String() != c.foreign, nil }}
			if err := down.run(t.Context(), parts); !errors.Is(err, c.err) {
				t.Errorf("error %v, want %v", err, c.err)
			}
			if !slices.Equal(d.sent, c.sent) {
				t.Errorf("deleted %v, want %v", d.sent, c.sent)
			}
			if !slices.Equal(down.left, c.left) {
				t.Errorf("left %v, want %v", down.left, c.left)
			}
			if down.deleted != c.deleted {
				t.Errorf("deleted anything: %t, want %t", down.deleted, c.deleted)
			}
		})
	}
}

// Nothing is deleted if it cannot be found out whether it is ours.
func TestAnObjectThatCannotBeJudgedStays(t *testing.T) {
	d, unread := &deletions{}, errors.New("the Route was not read")
	down := teardown{ours: func(context.Context, Part) (bool, error) { return false, unread }}
	if err := down.run(t.Context(), []Part{d.part("service", "s", false), d.part("pod", "a", false)}); !errors.Is(err, unread) || d.sent != nil {
		t.Errorf("error %v, deleted %v", err, d.sent)
	}
}
