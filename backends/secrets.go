package backends

import (
	"maps"
	"net/url"
	"slices"

	"github.com/mf-run/mf/diag"
	"github.com/mf-run/mf/ir"
)

// secretVariables are the environment variables whose values are secrets: of mf, of Metaflow and of the clouds. They may
// reach a container, but not by way of a file that says them.
var secretVariables = []string{
	"MF_SERVICE_TOKEN", "METAFLOW_SERVICE_AUTH_KEY", "METAFLOW_SERVICE_HEADERS", ir.EnvEventsToken,
	ir.EnvNotifySlack, ir.EnvNotifyPagerDuty, ir.EnvNotifyWebhook,
	"AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AZURE_STORAGE_KEY", "AZURE_STORAGE_SAS_TOKEN", "AZURE_CLIENT_SECRET",
}

// IsSecret reports whether the environment variable of that name holds a secret.
func IsSecret(variable string) bool { return slices.Contains(secretVariables, variable) }

// checkSecrets reports what would write a secret into the target's files.
func checkSecrets(opt Options) diag.List {
	var l diag.List
	for _, name := range slices.Sorted(maps.Keys(opt.Env)) {
		if IsSecret(name) {
			l = append(l, diag.Errorf(diag.Span{}, "secret-in-environment",
				"the environment variable %s is a secret, and would stand in the target's files for all to read", name).
				WithDetail("Keep it in a secret of the target, and have tasks get it from there."))
		}
	}
	for _, c := range []struct{ what, address string }{{"metadata service", opt.ServiceURL}, {"datastore", opt.Datastore}} {
		if u, err := url.Parse(c.address); err == nil && u.User != nil {
			if _, password := u.User.Password(); password {
				l = append(l, diag.Errorf(diag.Span{}, "secret-in-environment",
					"the address of the %s holds a password, and would stand in the target's files for all to read", c.what).
					WithDetail("Leave it out, and have tasks get credentials from a secret of the target."))
			}
		}
	}
	return l
}
