package guard

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/cache"
)

// listPage is how many objects are read at a time, and maxPages how many pages. Anyone can make many large objects with a
// session's label, and each takes several times its size while it is read.
const (
	listPage = 25
	maxPages = 2
)

// pageTimeout bounds how long a list holds one of maxPages.
const pageTimeout = 30 * time.Second

// pages has an element for each list that reads a page at present.
type pages chan struct{}

func newPages() pages { return make(pages, maxPages) }

// keptList is a list of objects as the caches keep them.
type keptList struct {
	metav1.TypeMeta
	metav1.ListMeta
	Items []runtime.Object
}

// DeepCopyObject implements runtime.Object.
func (l *keptList) DeepCopyObject() runtime.Object {
	out := &keptList{TypeMeta: l.TypeMeta, ListMeta: *l.ListMeta.DeepCopy()}
	for _, o := range l.Items {
		out.Items = append(out.Items, o.DeepCopyObject())
	}
	return out
}

// paged returns a list function that reads page by page and keeps of each object what keep returns. (Informers use
// it where the API server cannot stream a list.)
func (p pages) paged(list cache.ListWithContextFunc, keep cache.TransformFunc) cache.ListWithContextFunc {
	return func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
		o.Limit, o.ResourceVersion, o.ResourceVersionMatch = listPage, "", "" // from its cache, the API server gives all at once
		whole := &keptList{}
		for {
			next, err := p.keepPage(ctx, list, o, keep, whole)
			if err != nil {
				return nil, err
			}
			if whole.ResourceVersion == "" {
				whole.ResourceVersion = next.GetResourceVersion() // the other pages are of the same version
			}
			if o.Continue = next.GetContinue(); o.Continue == "" {
				return whole, nil
			}
		}
	}
}

// keepPage reads a page, when it is the list's turn, and adds what is kept of its objects to the whole list.
func (p pages) keepPage(ctx context.Context, list cache.ListWithContextFunc, o metav1.ListOptions, keep cache.TransformFunc, whole *keptList) (metav1.ListInterface, error) {
	select {
	case p <- struct{}{}:
		defer func() { <-p }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	ctx, cancel := context.WithTimeout(ctx, pageTimeout)
	defer cancel()
	page, err := list(ctx, o)
	if err != nil {
		return nil, err
	}
	err = meta.EachListItem(page, func(item runtime.Object) error {
		kept, err := keep(item)
		if o, ok := kept.(runtime.Object); ok {
			whole.Items = append(whole.Items, o)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return meta.ListAccessor(page)
}
