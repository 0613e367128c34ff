package azure_test

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"

	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/datastore/azure"
	"github.com/mf-run/mf/internal/testserver"
)

// Another client has to find the metadata under exactly the name that Metaflow's reader asks for, and the blocks of an
// upload that somebody gave up must not be in the way.
func TestBesideOtherClients(t *testing.T) {
	server := testserver.NewAzureContainer(t)
	credential, err := container.NewSharedKeyCredential(server.Account, server.Key)
	if err != nil {
		t.Fatal(err)
	}
	other, err := container.NewClientWithSharedKeyCredential(server.Endpoint+"/"+server.Container, credential, nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := azure.Open(t.Context(), server.Container, azure.Options{Endpoint: server.Endpoint, Key: server.Key, PartSize: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	// As long as the ids that the Python client writes: 48 digits, in base64.
	id := strings.Repeat("MDAw", 16)
	for _, key := range []string{"small", "large"} {
		size := map[string]int{"small": 10, "large": 3 << 20}[key]
		if _, err := other.NewBlockBlobClient(key).StageBlock(t.Context(), id, body{bytes.NewReader([]byte("left"))}, nil); err != nil {
			t.Fatal(err)
		}
		if err := b.Put(t.Context(), key, bytes.NewReader(make([]byte, size)), datastore.PutOptions{Meta: []byte(`{"a": "é"}`)}); err != nil {
			t.Fatal(err)
		}
	}
	pager := other.NewListBlobsFlatPager(&container.ListBlobsFlatOptions{Include: container.ListBlobsInclude{Metadata: true}})
	page, err := pager.NextPage(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(page.Segment.BlobItems) != 2 {
		t.Fatalf("%d blobs", len(page.Segment.BlobItems))
	}
	for _, item := range page.Segment.BlobItems {
		if v := item.Metadata["metaflow_user_attributes"]; v == nil || *v != `{"a": "\u00e9"}` {
			t.Errorf("%s has metadata %v", *item.Name, item.Metadata)
		}
	}
}

// body makes an io.ReadSeekCloser of a reader.
type body struct{ *bytes.Reader }

func (body) Close() error { return nil }

// blocks is a server that takes blocks and answers their list with a status.
func blocks(status int, code string, modified time.Time, lists *atomic.Int64) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodHead:
			if modified.IsZero() {
				w.WriteHeader(404)
				return
			}
			w.Header().Set("Last-Modified", modified.UTC().Format(http.TimeFormat))
		case r.URL.Query().Get("comp") == "blocklist":
			lists.Add(1)
			w.Header().Set("x-ms-error-code", code)
			w.WriteHeader(status)
		default:
			w.WriteHeader(http.StatusCreated)
		}
	}
}

// Whoever commits first drops the blocks of all others, whose writing then counts as having come before.
func TestOvertaken(t *testing.T) {
	large := make([]byte, 1<<20)
	for name, c := range map[string]struct {
		modified time.Time
		ifAbsent bool
		ok       bool
	}{
		"by a newer object":             {time.Now().Add(time.Minute), false, true},
		"an older object":               {time.Now().Add(-time.Hour), false, false},
		"an older object, which stays":  {time.Now().Add(-time.Hour), true, true},
		"removed":                       {time.Time{}, false, false},
		"removed, and was to be absent": {time.Time{}, true, false},
	} {
		var lists atomic.Int64
		b := open(t, azure.Options{}, blocks(http.StatusBadRequest, "InvalidBlockList", c.modified, &lists))
		err := b.Put(t.Context(), "k", bytes.NewReader(large), datastore.PutOptions{IfAbsent: c.ifAbsent})
		if (err == nil) != c.ok || lists.Load() != 1 {
			t.Errorf("%s: %v, %d lists", name, err, lists.Load())
		}
	}
}

func TestWriteOfWhatIsThere(t *testing.T) {
	for _, status := range []int{http.StatusConflict, http.StatusPreconditionFailed} {
		var lists atomic.Int64
		large := blocks(status, "BlobAlreadyExists", time.Time{}, &lists)
		b := open(t, azure.Options{}, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.RawQuery == "" {
				w.Header().Set("x-ms-error-code", "BlobAlreadyExists")
				w.WriteHeader(status)
				return
			}
			large(w, r)
		})
		for _, size := range []int{1, 1 << 20} {
			if err := b.Put(t.Context(), "k", bytes.NewReader(make([]byte, size)), datastore.PutOptions{IfAbsent: true}); err != nil {
				t.Errorf("%d, %d bytes: %v", status, size, err)
			}
			if err := b.Put(t.Context(), "k", bytes.NewReader(make([]byte, size)), datastore.PutOptions{}); err == nil {
				t.Errorf("%d, %d bytes: a conflict that was not asked for is no error", status, size)
			}
		}
	}
	leased := open(t, azure.Options{}, answer(http.StatusConflict, "LeaseIdMissing", "There is a lease."))
	if err := leased.Put(t.Context(), "k", strings.NewReader("x"), datastore.PutOptions{IfAbsent: true}); err == nil || !strings.Contains(fmt.Sprint(err), "LeaseIdMissing") {
		t.Errorf("another conflict: %v", err)
	}
}
