package stores

import (
	"encoding/json"
	"fmt"

	"github.com/mf-run/mf/metadata/httpapi/client"
)

// The variables that say how to talk to the metadata service.
const (
	// EnvServiceToken is a bearer token of mf's own service.
	EnvServiceToken = "MF_SERVICE_TOKEN"
	// EnvServiceKey is the key that Metaflow's clients send as x-api-key.
	EnvServiceKey = "METAFLOW_SERVICE_AUTH_KEY"
	// EnvServiceHeaders is a JSON object of further headers.
	EnvServiceHeaders = "METAFLOW_SERVICE_HEADERS"
	// EnvServiceCA is a file of PEM certificates to trust beside the system's.
	EnvServiceCA = "MF_SERVICE_CA"
)

// OpenService returns a client of the metadata service at url. Nothing is sent yet.
func OpenService(url string, env func(string) string, opt Options) (*client.Client, error) {
	headers := map[string]string{}
	if text := env(EnvServiceHeaders); text != "" {
		if err := json.Unmarshal([]byte(text), &headers); err != nil {
			// The text may hold a secret.
			return nil, fmt.Errorf(`%s is not a JSON object of texts, such as {"x-team": "a"}`, EnvServiceHeaders)
		}
	}
	return client.New(client.Options{
		URL: url, Headers: headers, Token: env(EnvServiceToken), APIKey: env(EnvServiceKey), CAFile: env(EnvServiceCA),
		Patience: opt.Patience, Notify: opt.Notify, Now: opt.Now,
	})
}
