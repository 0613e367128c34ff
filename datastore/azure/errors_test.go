package azure_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/datastore/azure"
)

// fixed is a credential with one answer, whose tokens live for ttl.
type fixed struct {
	ttl   time.Duration
	err   error
	calls *atomic.Int64
}

func (f fixed) GetToken(_ context.Context, opt policy.TokenRequestOptions) (azcore.AccessToken, error) {
	if f.calls != nil {
		f.calls.Add(1)
	}
	if fmt.Sprint(opt.Scopes) != "[https://storage.azure.com/.default]" {
		return azcore.AccessToken{}, fmt.Errorf("asked for %v", opt.Scopes)
	}
	return azcore.AccessToken{Token: "TOKEN", ExpiresOn: time.Now().Add(f.ttl)}, f.err
}

// open returns a datastore on a server with the given handler. No option means a token.
func open(t *testing.T, opt azure.Options, handler http.HandlerFunc) *azure.Backend {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	opt.Endpoint, opt.Patience, opt.PartSize = s.URL+"/account", time.Second, 256<<10
	if opt.Key == "" && opt.SAS == "" && opt.Credential == nil {
		opt.Credential = fixed{ttl: time.Hour}
	}
	b, err := azure.Open(t.Context(), "the-container/p", opt)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// every operation of a backend, for errors that all of them meet.
func every(ctx context.Context, b *azure.Backend) map[string]error {
	all := map[string]error{
		"put":       b.Put(ctx, "k", strings.NewReader("x"), datastore.PutOptions{}),
		"put large": b.Put(ctx, "k", bytes.NewReader(make([]byte, 1<<20)), datastore.PutOptions{}),
		"remove":    b.Remove(ctx, "k"),
	}
	_, _, all["get"] = b.Get(ctx, "k")
	_, all["exists"] = b.Exists(ctx, "k")
	for _, err := range b.List(ctx, "") {
		all["list"] = err
	}
	return all
}

func answer(status int, code, message string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if code != "" {
			w.Header().Set("x-ms-error-code", code)
		}
		w.WriteHeader(status)
		fmt.Fprintf(w, "\ufeff<?xml version=\"1.0\"?><Error><Code>%s</Code><Message>%s\nRequestId:1\nTime:2</Message><AuthenticationErrorDetail>HIDDEN</AuthenticationErrorDetail></Error>", code, message)
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	key := azure.Options{Key: "SElEREVO"} // HIDDEN
	sas := azure.Options{SAS: "?sv=2022-11-02&sig=HIDDEN"}
	refused := &azidentity.AuthenticationFailedError{RawResponse: &http.Response{StatusCode: 503, Status: "503 Service Unavailable"}}
	for name, c := range map[string]struct {
		opt     azure.Options
		handler http.HandlerFunc
		want    []string
	}{
		"no container":  {key, answer(404, "ContainerNotFound", "The specified container does not exist."), []string{`no container "the-container"`, "az storage container create"}},
		"bare 404":      {key, answer(404, "", ""), []string{`no container "the-container"`}},
		"wrong key":     {key, answer(403, "AuthenticationFailed", "Server failed to authenticate the request."), []string{"AuthenticationFailed", "account's key", "clock"}},
		"expired SAS":   {sas, answer(403, "AuthenticationFailed", "Signature not valid in the specified time frame"), []string{"shared access signature", "expired"}},
		"firewall":      {sas, answer(403, "AuthorizationFailure", "This request is not authorized to perform this operation."), []string{"firewall"}},
		"no role":       {azure.Options{}, answer(403, "AuthorizationPermissionMismatch", "no"), []string{"Storage Blob Data Contributor", "the-container"}},
		"unauthorized":  {azure.Options{}, answer(401, "InvalidAuthenticationInfo", "no"), []string{"not accepted", "az login"}},
		"no credential": {azure.Options{Credential: fixed{err: errors.New("nothing found")}}, answer(200, "", ""), []string{"nothing found", "az login", "managed identity"}},
		"token 503":     {azure.Options{Credential: fixed{err: refused}}, answer(200, "", ""), []string{"has not answered for", "the token server of Azure answered 503"}},
		"outage":        {key, answer(503, "ServerBusy", "busy"), []string{"has not answered for 1s", "503"}},
		"odd answer":    {key, answer(418, "", ""), []string{"418"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := open(t, c.opt, c.handler)
			for what, err := range every(t.Context(), b) {
				if err == nil {
					t.Errorf("%s gives no error", what)
					continue
				}
				for _, want := range append(c.want, "azure://the-container/p") {
					if what == "exists" && want != "azure://the-container/p" && strings.Contains(err.Error(), "no permission") {
						continue // the answer to HEAD has no body
					}
					if !strings.Contains(err.Error(), want) {
						t.Errorf("%s: %q does not say %q", what, err, want)
					}
				}
				for _, secret := range []string{"TOKEN", "HIDDEN", "SElEREVO", "RequestId"} {
					if strings.Contains(err.Error(), secret) {
						t.Errorf("%s: %q holds %q", what, err, secret)
					}
				}
			}
		})
	}
}

func TestTokenIsKept(t *testing.T) {
	for ttl, want := range map[time.Duration]int64{time.Hour: 1, time.Minute: 3} {
		var calls atomic.Int64
		b := open(t, azure.Options{Credential: fixed{ttl: ttl, calls: &calls}}, func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "Bearer TOKEN" || r.Header.Get("x-ms-version") == "" {
				w.WriteHeader(401)
			}
		})
		for range 3 {
			if _, err := b.Exists(t.Context(), "k"); err != nil {
				t.Fatal(err)
			}
		}
		if calls.Load() != want {
			t.Errorf("%d tokens that live for %v were fetched, want %d", calls.Load(), ttl, want)
		}
	}
}

func TestSAS(t *testing.T) {
	var queries []string
	handler := func(w http.ResponseWriter, r *http.Request) { queries = append(queries, r.URL.RawQuery) }
	b := open(t, azure.Options{SAS: "?sv=1&sig=a%2Bb"}, handler)
	if _, err := b.Exists(t.Context(), "k"); err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(http.HandlerFunc(handler))
	defer s.Close()
	b, err := azure.Open(t.Context(), "the-container", azure.Options{Endpoint: s.URL + "/account?sv=1&sig=a%2Bb"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Exists(t.Context(), "k"); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(queries) != "[sv=1&sig=a%2Bb sv=1&sig=a%2Bb]" {
		t.Errorf("queries %q", queries)
	}
}

func TestRootsAndEndpoints(t *testing.T) {
	opt := azure.Options{Account: "acc", Key: "AAAA"}
	for in, want := range map[string]string{
		"container": "container", "container/a/b": "container/a/b", "azure://container/a/": "container/a", "azure://con-1": "con-1",
	} {
		b, err := azure.Open(t.Context(), in, opt)
		if err != nil || b.Root() != want || b.Type() != "azure" {
			t.Errorf("Open(%q) = %v, want root %q", in, err, want)
		}
	}
	for _, bad := range []string{"", "/container", "container/", "c/x", "Container", "container//x", "s3://bucket/x", "container/../x", "con_tainer"} {
		if _, err := azure.Open(t.Context(), bad, opt); err == nil {
			t.Errorf("Open(%q) was accepted", bad)
		}
	}
	for name, c := range map[string]struct {
		opt  azure.Options
		want string
	}{
		"nothing":     {azure.Options{}, "METAFLOW_AZURE_STORAGE_BLOB_SERVICE_ENDPOINT"},
		"no URL":      {azure.Options{Endpoint: "acc.blob.core.windows.net?sig=HIDDEN"}, "https://ACCOUNT.blob.core.windows.net"},
		"bad key":     {azure.Options{Account: "acc", Key: "HIDDEN!"}, "not base64"},
		"plain token": {azure.Options{Endpoint: "http://acc.blob.core.windows.net", Credential: fixed{}}, "use https"},
		"no account":  {azure.Options{Endpoint: "http://127.0.0.1:1", Key: "AAAA"}, "account's name"},
	} {
		_, err := azure.Open(t.Context(), "container", c.opt)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "HIDDEN") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCorrupt(t *testing.T) {
	b := open(t, azure.Options{}, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-MD5", "AAAAAAAAAAAAAAAAAAAAAA==")
		_, _ = io.WriteString(w, "bytes")
	})
	r, _, err := b.Get(t.Context(), "k")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if data, err := io.ReadAll(r); !errors.Is(err, datastore.ErrCorrupt) {
		t.Errorf("read %q, %v, want ErrCorrupt", data, err)
	}
}

func TestVersionIsPinned(t *testing.T) {
	b := open(t, azure.Options{}, func(w http.ResponseWriter, r *http.Request) {
		if tag := r.Header.Get("If-Match"); tag != "" && tag != `"two"` {
			w.WriteHeader(http.StatusPreconditionFailed)
			return
		}
		w.Header().Set("ETag", `"one"`)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(make([]byte, 300<<10)))
	})
	r, _, err := b.Get(t.Context(), "k")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	n, err := io.Copy(io.Discard, r)
	if err == nil || !strings.Contains(err.Error(), "replaced or removed while it was read") || n != 256<<10 {
		t.Errorf("read %d bytes, %v", n, err)
	}
}

// A folder of an account with a hierarchical namespace is a blob of its own.
func TestFoldersAreNoObjects(t *testing.T) {
	b := open(t, azure.Options{}, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("comp") == "list" {
			_, _ = io.WriteString(w, `<EnumerationResults><Blobs>
				<Blob><Name>p/d</Name><Properties><Last-Modified>Mon, 02 Jan 2006 15:04:05 GMT</Last-Modified><Content-Length>0</Content-Length><ResourceType>directory</ResourceType></Properties></Blob>
				<Blob><Name Encoded="true">p/a%EF%BF%BE%20b</Name><Properties><Last-Modified>Mon, 02 Jan 2006 15:04:05 GMT</Last-Modified><Content-Length>7</Content-Length><ResourceType>file</ResourceType></Properties></Blob>
				<BlobPrefix><Name>p/d/</Name></BlobPrefix></Blobs><NextMarker/></EnumerationResults>`)
			return
		}
		w.Header().Set("x-ms-meta-hdi_isfolder", "true")
	})
	if ok, err := b.Exists(t.Context(), "d"); ok || err != nil {
		t.Errorf("Exists = %v, %v", ok, err)
	}
	if _, _, err := b.Get(t.Context(), "d"); !errors.Is(err, datastore.ErrNotFound) {
		t.Errorf("Get = %v", err)
	}
	var got []string
	for e, err := range b.List(t.Context(), "") {
		got = append(got, fmt.Sprint(e.Key, e.Size, e.Dir, err))
	}
	if fmt.Sprintf("%q", got) != `["a\ufffe b7 false <nil>" "d0 true <nil>"]` {
		t.Errorf("List = %q", got)
	}
}
