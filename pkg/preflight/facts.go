// Package preflight checks, before anything is changed, whether a session can run on a Route. Each
// obstacle is an error with a reason, which includes the fix.
package preflight

import (
	"context"
	"fmt"
	"time"

	routev1 "github.com/openshift/api/route/v1"
	routeclient "github.com/openshift/client-go/route/clientset/versioned"
	"golang.org/x/sync/errgroup"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/workload"
)

// Facts holds what the checks examine.
type Facts struct {
	Route     *routev1.Route
	Namespace *workload.Namespace
	User      string                                    // "" if the API server did not return it
	Rules     *authorizationv1.SubjectRulesReviewStatus // nil if the API server did not return them
	Now       time.Time                                 // the API server's clock
}

// Gather reads the facts about a Route, each kind of object once. It returns an error with reason
// RouteNotFound or ReadForbidden if that is why it fails.
func Gather(ctx context.Context, core kubernetes.Interface, routes routeclient.Interface, namespace, name string) (*Facts, error) {
	f := &Facts{}
	parent := ctx // not cancelled when one of the requests below fails
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		f.Route, err = routes.RouteV1().Routes(namespace).Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return reason.New(reason.RouteNotFound, "namespace", namespace, "route", name)
		}
		if err != nil {
			return fmt.Errorf("read route %s/%s: %w", namespace, name, err)
		}
		return nil
	})
	g.Go(func() (err error) {
		f.Namespace, err = workload.Read(ctx, core, namespace)
		return err
	})
	g.Go(func() error {
		review, err := core.AuthenticationV1().SelfSubjectReviews().Create(parent, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
		if err == nil {
			f.User = review.Status.UserInfo.Username
		}
		return nil // the name is informative only: for other users, and in messages
	})
	g.Go(func() error {
		review, err := core.AuthorizationV1().SelfSubjectRulesReviews().Create(ctx, &authorizationv1.SelfSubjectRulesReview{
			Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: namespace},
		}, metav1.CreateOptions{})
		if err == nil {
			f.Rules = &review.Status
		}
		return nil // without the rules, the API server rejects requests one by one
	})
	if err := g.Wait(); apierrors.IsForbidden(err) {
		return nil, reason.Forbidden(reason.ReadForbidden, "why", err, "namespace", namespace, "user", f.User)
	} else if err != nil {
		return nil, err
	}
	return f, f.Namespace.ReadDetails(parent, core, f.Route.Spec.To.Name)
}
