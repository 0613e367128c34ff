// Package stores opens the datastore and the metadata service that a configuration names. It is all that knows which
// kinds there are.
package stores

import (
	"context"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/datastore/local"
)

// Options tune what is opened. Zero fields take the defaults of what is opened.
type Options struct {
	// Patience is how long an outage is waited out before a call fails.
	Patience time.Duration
	// Notify is told, in one line, of an outage that is being waited out and of its end; nil for nobody.
	Notify func(message string)
	// Now is the clock.
	Now func() time.Time
}

// Schemes are the kinds of datastore that a root may name, as users write them.
const Schemes = "file:///PATH/.metaflow, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or azure://CONTAINER/PREFIX"

// OpenDatastore opens the datastore at root: one of Schemes, or an absolute path. env reads an environment variable;
// empty means unset.
func OpenDatastore(ctx context.Context, root string, env func(string) string, opt Options) (datastore.Backend, error) {
	if filepath.IsAbs(root) {
		return local.Open(root)
	}
	scheme, _, ok := strings.Cut(root, "://")
	if !ok {
		return nil, fmt.Errorf("datastore %q is not a URL: it should be %s", root, Schemes)
	}
	switch scheme {
	case "file":
		u, err := url.Parse(root)
		if err != nil {
			return nil, fmt.Errorf("datastore %q is not a URL: %w", root, err)
		}
		return local.Open(filepath.FromSlash(u.Path))
	}
	return nil, fmt.Errorf("datastore %q: there is no kind %q; it should be %s", root, scheme, Schemes)
}
