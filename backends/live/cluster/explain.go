package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os/exec"
	"regexp"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	utilnet "k8s.io/apimachinery/pkg/util/net"

	"github.com/mf-run/mf/backends/live"
)

// Request says what was asked of the API server, for messages.
type Request struct {
	// Verb is Kubernetes' own: get, list, watch, create, patch, delete.
	Verb string
	// Resource is in the plural with its group, as in a Role: "jobs.batch", "pods", "pods/log".
	Resource string
	// Name is the object's; empty for none in particular.
	Name string
}

func (r Request) String() string {
	text := r.Verb + " " + r.Resource
	if r.Name != "" {
		text += " " + r.Name
	}
	return text
}

// Explain makes an error of client-go's one of the project's: live.ErrDenied with the verb, the resource and the
// namespace, live.ErrNotFound, live.ErrUnavailable. Other errors, and a cancelled context, keep their own text. nil is nil.
func (c *Cluster) Explain(r Request, err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	where := "in namespace " + c.Namespace
	switch {
	case apierrors.IsForbidden(err) && !strings.Contains(err.Error(), "is forbidden: User") && !denial.MatchString(err.Error()):
		// Not a missing permission: a quota or an admission rule, which has words of its own.
		return fmt.Errorf("the cluster refuses to %s %s: %w", r, where, err)
	case apierrors.IsForbidden(err):
		verb, resource, group := refused(r, err)
		return fmt.Errorf("%w: %s may not %s %s %s; a Role there with {apiGroups: [%q], resources: [%q], verbs: [%q]}, bound to it, grants that",
			live.ErrDenied, who(err), verb, strings.TrimSuffix(resource+"."+group, "."), where, group, resource, verb)
	case apierrors.IsUnauthorized(err):
		return fmt.Errorf("%w: %s does not accept the credentials of the kubeconfig", live.ErrDenied, c.Server)
	case apierrors.IsNotFound(err) && r.Name != "":
		return fmt.Errorf("%s %s %s: %w", r.Resource, r.Name, where, live.ErrNotFound)
	case apierrors.IsNotFound(err):
		return fmt.Errorf("%s %s: %w: the cluster does not know them, or has no such namespace", r.Resource, where, live.ErrNotFound)
	case Unreachable(err):
		return fmt.Errorf("the Kubernetes API at %s %w: %w", c.Server, live.ErrUnavailable, reason(err))
	}
	return fmt.Errorf("asking the cluster to %s %s: %w", r, where, err)
}

// who is the user that the server named.
func who(err error) string {
	_, rest, ok := strings.Cut(err.Error(), `User "`)
	if name, _, closed := strings.Cut(rest, `"`); ok && closed {
		return name
	}
	return "this account"
}

// denial is how the server words a missing permission.
var denial = regexp.MustCompile(`cannot (\w+) resource "([^"]+)" in API group "([^"]*)"`)

// refused is the permission that is missing, which need not be the one for the verb asked with: an apply that would make
// an object needs create as well.
func refused(r Request, err error) (verb, resource, group string) {
	if m := denial.FindStringSubmatch(err.Error()); m != nil {
		return m[1], m[2], m[3]
	}
	resource, group, _ = strings.Cut(r.Resource, ".")
	return r.Verb, resource, group
}

// Unreachable reports whether an error says that nobody answered, or that the server is overloaded or starting: the same
// request may go through later.
func Unreachable(err error) bool {
	var network net.Error
	var transport *url.Error
	var program *exec.Error
	switch {
	case errors.As(err, &program):
		return false // the kubeconfig's login program is missing: waiting does not help
	case errors.As(err, &network), errors.As(err, &transport), errors.Is(err, context.DeadlineExceeded):
		return true
	}
	return apierrors.IsServerTimeout(err) || apierrors.IsTimeout(err) || apierrors.IsTooManyRequests(err) ||
		apierrors.IsServiceUnavailable(err) || apierrors.IsInternalError(err) || utilnet.IsConnectionRefused(err) ||
		utilnet.IsConnectionReset(err) || utilnet.IsProbableEOF(err)
}

// reason is an error without the request's URL, which says nothing to a user.
func reason(err error) error {
	var transport *url.Error
	if errors.As(err, &transport) {
		return transport.Err
	}
	return err
}
