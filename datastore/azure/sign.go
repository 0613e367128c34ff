package azure

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/mf-run/mf/datastore/transfer"
)

const (
	scope = "https://storage.azure.com/.default"
	// wayToCredentials is what a user does who has none.
	wayToCredentials = "run \"az login\", set AZURE_CLIENT_ID, AZURE_TENANT_ID and AZURE_CLIENT_SECRET, or give the workload a managed identity"
)

// signer returns what adds credentials to requests: a key's signature, a shared access signature or an access token.
func signer(endpoint *url.URL, opt Options) (func(context.Context, *http.Request) error, error) {
	now := opt.Now
	if now == nil {
		now = time.Now
	}
	var sign func(context.Context, *http.Request) error
	switch {
	case opt.Key != "":
		key, err := base64.StdEncoding.DecodeString(opt.Key)
		if err != nil {
			return nil, errors.New("the Azure storage account's key is not base64; copy it again from \"az storage account keys list\"")
		}
		if opt.Account == "" {
			return nil, errors.New("the Azure storage account's key is given, but not the account's name")
		}
		sign = sharedKey{opt.Account, key}.sign
	case opt.SAS != "":
		sas := opt.SAS
		sign = func(_ context.Context, r *http.Request) error {
			if r.URL.RawQuery != "" {
				r.URL.RawQuery += "&"
			}
			r.URL.RawQuery += sas
			return nil
		}
	default:
		if endpoint.Scheme != "https" && !isLoopback(endpoint.Hostname()) {
			return nil, fmt.Errorf("the Azure endpoint %s://%s is not encrypted, and an access token is not sent over it: use https", endpoint.Scheme, endpoint.Host)
		}
		t := &tokens{source: opt.Credential, now: now}
		if t.source == nil {
			chain, err := azidentity.NewDefaultAzureCredential(nil)
			if err != nil {
				return nil, fmt.Errorf("no credentials for Azure (%w): %s", err, wayToCredentials)
			}
			t.source = chain
		}
		sign = t.sign
	}
	return func(ctx context.Context, r *http.Request) error {
		r.Header.Set("x-ms-version", version)
		r.Header.Set("x-ms-date", now().UTC().Format(http.TimeFormat))
		r.Header.Set("Accept-Encoding", "identity") // bytes as they are stored
		return sign(ctx, r)
	}, nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}

// tokens keeps an access token until shortly before it expires.
type tokens struct {
	source azcore.TokenCredential
	now    func() time.Time

	mu    sync.Mutex
	token azcore.AccessToken
}

// earlier is how long before its end a token is exchanged; clocks differ and requests take time.
const earlier = 5 * time.Minute

func (t *tokens) sign(ctx context.Context, r *http.Request) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.token.Token == "" || t.token.ExpiresOn.Sub(t.now()) < earlier {
		token, err := t.source.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{scope}})
		if err != nil {
			return explainToken(err)
		}
		t.token = token
	}
	r.Header.Set("Authorization", "Bearer "+t.token.Token)
	return nil
}

// explainToken tells a token server that does not answer from one that says no.
func explainToken(err error) error {
	var failed *azidentity.AuthenticationFailedError
	var network net.Error
	var u *url.Error
	switch {
	case errors.As(err, &failed) && failed.RawResponse != nil && transfer.RetryStatus(failed.RawResponse.StatusCode):
		return transfer.Transient(fmt.Errorf("the token server of Azure answered %s", failed.RawResponse.Status))
	case errors.As(err, &u) && errors.As(u.Err, &network):
		return transfer.Transient(fmt.Errorf("fetching an access token: %w", u.Err))
	}
	return fmt.Errorf("no access token for Azure could be had: %w\nTo get one, %s", err, wayToCredentials)
}

// sharedKey signs with an account's key.
type sharedKey struct {
	account string
	key     []byte
}

func (k sharedKey) sign(_ context.Context, r *http.Request) error {
	mac := hmac.New(sha256.New, k.key)
	mac.Write([]byte(k.stringToSign(r)))
	r.Header.Set("Authorization", "SharedKey "+k.account+":"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	return nil
}

// stringToSign lays a request out as Azure's Shared Key authorization has it: the method, certain headers, all headers of
// Azure's own and the resource, with its query, each on a line.
func (k sharedKey) stringToSign(r *http.Request) string {
	var s strings.Builder
	s.WriteString(r.Method)
	length := ""
	if r.ContentLength > 0 {
		length = strconv.FormatInt(r.ContentLength, 10)
	}
	for _, name := range []string{
		"Content-Encoding", "Content-Language", "Content-Length", "Content-Md5", "Content-Type", "Date",
		"If-Modified-Since", "If-Match", "If-None-Match", "If-Unmodified-Since", "Range",
	} {
		value := r.Header.Get(name)
		if name == "Content-Length" {
			value = length
		}
		s.WriteString("\n" + value)
	}
	var own []string
	for name, values := range r.Header {
		if lower := strings.ToLower(name); strings.HasPrefix(lower, "x-ms-") {
			own = append(own, lower+":"+strings.TrimSpace(strings.Join(values, ",")))
		}
	}
	slices.SortFunc(own, func(x, y string) int {
		x, _, _ = strings.Cut(x, ":")
		y, _, _ = strings.Cut(y, ":")
		return strings.Compare(x, y)
	})
	for _, line := range own {
		s.WriteString("\n" + line)
	}
	s.WriteString("\n/" + k.account + r.URL.EscapedPath())
	query := r.URL.Query()
	var names []string
	for name := range query {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		slices.Sort(query[name])
		s.WriteString("\n" + strings.ToLower(name) + ":" + strings.Join(query[name], ","))
	}
	return s.String()
}
