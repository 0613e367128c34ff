package azure

import (
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/datastore/transfer"
)

// codeHeader names the kind of an error.
const codeHeader = "x-ms-error-code"

// reason reads what the server says of an error. Only the first line of its message is taken: others hold numbers of the
// request, and where a signature did not match, what was signed.
func reason(resp *http.Response) (code, message string) {
	code = resp.Header.Get(codeHeader)
	data, _ := io.ReadAll(io.LimitReader(resp.Body, 16<<10))
	var x struct {
		Code, Message string
	}
	if xml.Unmarshal(data, &x) != nil {
		return code, ""
	}
	if code == "" {
		code = x.Code
	}
	message, _, _ = strings.Cut(x.Message, "\n")
	if len(message) > 300 {
		message = strings.ToValidUTF8(message[:300], "") + "…"
	}
	return code, strings.TrimSpace(message)
}

// absent is the error of a 404: datastore.ErrNotFound, or that there is no such container.
func (b *Backend) absent(ctx context.Context, resp *http.Response) error {
	switch code, _ := reason(resp); code {
	case "ContainerNotFound", "ContainerBeingDeleted", "ContainerDisabled":
		return b.noContainer()
	case "BlobNotFound":
		return datastore.ErrNotFound
	}
	if b.seen.Load() {
		return datastore.ErrNotFound
	}
	// The answer may mean either.
	missing := false
	req := transfer.Request{Method: http.MethodGet, URL: b.base + "/" + b.container + "?restype=container&comp=list&maxresults=1"}
	err := b.client.Once(ctx, req, func(r *http.Response) error {
		missing = r.StatusCode == http.StatusNotFound
		if r.StatusCode == http.StatusOK {
			b.seen.Store(true)
		}
		return nil
	})
	if err == nil && missing {
		return b.noContainer()
	}
	return datastore.ErrNotFound
}

func (b *Backend) noContainer() error {
	return fmt.Errorf("there is no container %q at %s; check the datastore's root, or make the container with \"az storage container create --name %s\"", b.container, b.base, b.container)
}

// refused is the error of a status that no retry and no caller deals with.
func (b *Backend) refused(resp *http.Response) error {
	code, message := reason(resp)
	said := strings.TrimSpace(code + " " + message)
	if said == "" {
		said = resp.Status
	}
	switch {
	case resp.StatusCode == http.StatusNotFound:
		return b.noContainer()
	case resp.StatusCode == http.StatusUnauthorized, code == "PublicAccessNotPermitted":
		return fmt.Errorf("the credentials are not accepted (%s), they may have expired: %s", said, wayToCredentials)
	case code == "AuthenticationFailed":
		return fmt.Errorf("the credentials are not accepted (%s): check the account's key, whether the shared access signature or the token has expired, and this machine's clock", said)
	case code == "AuthorizationFailure":
		return fmt.Errorf("no permission (%s): the storage account's firewall, or the shared access signature, does not allow this", said)
	case resp.StatusCode == http.StatusForbidden:
		return fmt.Errorf("no permission (%s): the account needs the role Storage Blob Data Contributor on the container %s", said, b.container)
	}
	return fmt.Errorf("the server answered %d: %s", resp.StatusCode, said)
}

// doing wraps an error with what was done to which object.
func (b *Backend) doing(what, key string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s azure://%s/%s: %w", what, b.Root(), key, err)
}
