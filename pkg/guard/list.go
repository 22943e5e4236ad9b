package guard

import (
	"context"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/cache"
)

// listPage is how many objects are read at a time. Anyone can make many large ones with a session's label.
const listPage = 25

// pagedList returns a list function that reads page by page and keeps only what the guard reads of each
// object. (Informers use it where the API server cannot stream a list.)
func pagedList(list cache.ListWithContextFunc) cache.ListWithContextFunc {
	return func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
		o.Limit, o.ResourceVersion, o.ResourceVersionMatch = listPage, "", "" // from its cache, the API server gives all at once
		var whole runtime.Object
		var kept []runtime.Object
		for {
			page, err := list(ctx, o)
			if err != nil {
				return nil, err
			}
			err = meta.EachListItem(page, func(item runtime.Object) error {
				stripped, err := stripObject(item)
				if o, ok := stripped.(runtime.Object); ok {
					kept = append(kept, o)
				}
				return err
			})
			if err != nil {
				return nil, err
			}
			next, err := meta.ListAccessor(page)
			if err != nil {
				return nil, err
			}
			if whole == nil {
				whole = page // the other pages are of the same version
			}
			if o.Continue = next.GetContinue(); o.Continue == "" {
				return whole, finishList(whole, kept)
			}
		}
	}
}

// finishList makes a list of all items out of its first page. Without a continue token: with one, the informer
// would read the other pages again.
func finishList(list runtime.Object, items []runtime.Object) error {
	m, err := meta.ListAccessor(list)
	if err != nil {
		return err
	}
	m.SetContinue("")
	m.SetRemainingItemCount(nil)
	return meta.SetList(list, items)
}
