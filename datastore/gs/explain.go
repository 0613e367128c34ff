package gs

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"

	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/datastore/transfer"
)

// wayToCredentials is what a user does who has none.
const wayToCredentials = "run \"gcloud auth application-default login\", set GOOGLE_APPLICATION_CREDENTIALS to a service account's key file, or give the workload a service account"

// defaultTokens finds the credentials of the environment.
func defaultTokens(ctx context.Context) (oauth2.TokenSource, error) {
	// Tokens are fetched for as long as the backend lives, and no fetch waits for ever.
	ctx = context.WithValue(context.WithoutCancel(ctx), oauth2.HTTPClient, &http.Client{Timeout: 30 * time.Second})
	credentials, err := google.FindDefaultCredentials(ctx, scope)
	if err != nil {
		return nil, fmt.Errorf("no credentials for Google Cloud Storage (%w): %s", err, wayToCredentials)
	}
	return credentials.TokenSource, nil
}

// signer adds source's token to requests.
func signer(source oauth2.TokenSource) func(context.Context, *http.Request) error {
	source = oauth2.ReuseTokenSource(nil, source)
	return func(ctx context.Context, r *http.Request) error {
		type result struct {
			token *oauth2.Token
			err   error
		}
		got := make(chan result, 1)
		go func() { // Token knows no context
			token, err := source.Token()
			got <- result{token, err}
		}()
		select {
		case res := <-got:
			if res.err != nil {
				return explainToken(res.err)
			}
			res.token.SetAuthHeader(r)
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// explainToken tells a token server that does not answer from one that says no.
func explainToken(err error) error {
	var refused *oauth2.RetrieveError
	if errors.As(err, &refused) && refused.Response != nil {
		if status := refused.Response.StatusCode; transfer.RetryStatus(status) {
			return transfer.Transient(fmt.Errorf("the token server of Google answered %d", status))
		}
		// The whole answer is left out: it may quote what was sent.
		return fmt.Errorf("no token was given (%s %s): the credentials have expired or were withdrawn; %s",
			refused.ErrorCode, refused.ErrorDescription, wayToCredentials)
	}
	var network net.Error
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	if errors.As(err, &network) {
		return transfer.Transient(fmt.Errorf("fetching an access token: %w", err))
	}
	return fmt.Errorf("fetching an access token: %w; %s", err, wayToCredentials)
}

// maxAnswer bounds what is read of a JSON or XML answer.
const maxAnswer = 32 << 20

// decode reads a JSON answer.
func decode(resp *http.Response, into any) error {
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("the answer is not the expected JSON: %w", err)
	}
	return nil
}

// reason reads what the server says of an error, in either of its APIs' forms.
func reason(resp *http.Response) string {
	data, _ := io.ReadAll(io.LimitReader(resp.Body, 16<<10))
	var j struct {
		Error struct {
			Message string `json:"message"`
		} `json:"error"`
	}
	var x struct {
		Code, Message, Details string
	}
	text := string(data)
	switch {
	case json.Unmarshal(data, &j) == nil:
		text = j.Error.Message
	case xml.Unmarshal(data, &x) == nil:
		text = strings.Join([]string{x.Code, x.Message, x.Details}, " ")
	}
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > 300 {
		text = strings.ToValidUTF8(text[:300], "") + "…"
	}
	return text
}

// absent is the error of a 404: datastore.ErrNotFound, or that there is no such bucket.
func (b *Backend) absent(ctx context.Context, resp *http.Response) error {
	said := reason(resp)
	if strings.Contains(said, "NoSuchBucket") || strings.Contains(said, "bucket does not exist") {
		return b.noBucket()
	}
	if b.seen.Load() {
		return datastore.ErrNotFound
	}
	// The answer may mean either.
	missing := false
	req := transfer.Request{Method: http.MethodGet, URL: b.url(b.bucketPath()+"/o", url.Values{"maxResults": {"1"}, "fields": {"kind"}})}
	err := b.client.Once(ctx, req, func(r *http.Response) error {
		missing = r.StatusCode == http.StatusNotFound
		if r.StatusCode == http.StatusOK {
			b.seen.Store(true)
		}
		return nil
	})
	if err == nil && missing {
		return b.noBucket()
	}
	return datastore.ErrNotFound
}

func (b *Backend) noBucket() error {
	return fmt.Errorf("there is no bucket %q; check the datastore's root, or make the bucket with \"gcloud storage buckets create gs://%s\"", b.bucket, b.bucket)
}

// refused is the error of a status that no retry and no caller deals with.
func (b *Backend) refused(resp *http.Response) error {
	said := reason(resp)
	switch resp.StatusCode {
	case http.StatusUnauthorized:
		if b.anonymous {
			return fmt.Errorf("no access without credentials (%s): %s", said, wayToCredentials)
		}
		return fmt.Errorf("the credentials are not accepted (%s), they may have expired: %s", said, wayToCredentials)
	case http.StatusForbidden:
		return fmt.Errorf("no permission (%s): the account needs the role Storage Object User (roles/storage.objectUser) on the bucket %s", said, b.bucket)
	case http.StatusNotFound:
		return b.noBucket()
	}
	if said == "" {
		return fmt.Errorf("the server answered %s", resp.Status)
	}
	return fmt.Errorf("the server answered %s: %s", resp.Status, said)
}

// doing wraps an error with what was done to which object.
func (b *Backend) doing(what, key string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %s/%s: %w", what, b.Root(), key, err)
}
