package gs_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/mf-run/mf/datastore"
)

// session is a server with one resumable upload, as Google documents it, which the emulator does not have in full:
// it keeps what it was sent, says how much of that it has, and can be told to misbehave.
type session struct {
	mu      sync.Mutex
	data    []byte
	done    bool
	dropped bool
	opened  string // the query of the request that opened it
	puts    int
	fault   fault
	crc     string // what the finished object is said to have; empty for the truth
}

// fault is how a session misbehaves at the chunks with the given numbers.
type fault struct {
	at []int
	// keep is how much of the chunk is taken all the same.
	keep int
	// status is what is answered: 0 hangs up, 308 is the truth.
	status int
}

func (s *session) fail(w http.ResponseWriter, body []byte) {
	s.data = append(s.data, body[:min(s.fault.keep, len(body))]...)
	switch s.fault.status {
	case 0:
		if c, _, err := http.NewResponseController(w).Hijack(); err == nil {
			c.Close()
		}
	case http.StatusPermanentRedirect:
		s.state(w)
	default:
		w.WriteHeader(s.fault.status)
	}
}

func (s *session) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	body, _ := io.ReadAll(r.Body)
	span := r.Header.Get("Content-Range")
	switch {
	case r.Method == http.MethodPost:
		s.opened = r.URL.RawQuery
		w.Header().Set("Location", "http://elsewhere.invalid/session?upload_id=SECRET")
	case r.Method == http.MethodDelete:
		s.dropped = true
		w.WriteHeader(499)
	case span == "bytes */*":
		s.state(w)
	default:
		s.chunk(w, r, span, body)
	}
}

// chunk takes a part of the object.
func (s *session) chunk(w http.ResponseWriter, r *http.Request, span string, body []byte) {
	s.puts++
	var from, to, total int64 = int64(len(s.data)), int64(len(s.data)) - 1, -1
	if _, err := fmt.Sscanf(span, "bytes */%d", &total); err != nil {
		if _, err := fmt.Sscanf(span, "bytes %d-%d/%d", &from, &to, &total); err != nil {
			_, _ = fmt.Sscanf(span, "bytes %d-%d/*", &from, &to)
			total = -1
		}
	}
	if from != int64(len(s.data)) || to-from+1 != int64(len(body)) {
		http.Error(w, fmt.Sprintf("has %d bytes and got %s with %d", len(s.data), span, len(body)), http.StatusBadRequest)
		return
	}
	if slices.Contains(s.fault.at, s.puts) {
		s.fail(w, body)
		return
	}
	s.data = append(s.data, body...)
	if total == int64(len(s.data)) {
		s.done = true
		if want := "crc32c=" + s.sum(); r.Header.Get("X-Goog-Hash") != want {
			http.Error(w, "wrong hash "+r.Header.Get("X-Goog-Hash"), http.StatusBadRequest)
			return
		}
	}
	s.state(w)
}

func (s *session) sum() string {
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, crc32.Checksum(s.data, crc32.MakeTable(crc32.Castagnoli))))
}

// state answers with how far the upload is.
func (s *session) state(w http.ResponseWriter) {
	if s.done {
		crc := s.crc
		if crc == "" {
			crc = s.sum()
		}
		fmt.Fprintf(w, `{"crc32c": %q, "generation": "5"}`, crc)
		return
	}
	if len(s.data) > 0 {
		w.Header().Set("Range", fmt.Sprintf("bytes=0-%d", len(s.data)-1))
	}
	w.WriteHeader(http.StatusPermanentRedirect)
}

func bodyOf(size int) []byte {
	data := make([]byte, size)
	for i := range data {
		data[i] = byte(i * 31 >> 7)
	}
	return data
}

// The backend's parts are of 256 KiB here, its chunks of 512.
const chunk = 512 << 10

func TestResumableUpload(t *testing.T) {
	for name, fault := range map[string]fault{
		"nothing":                      {},
		"503 after half of a chunk":    {at: []int{2}, keep: chunk / 2, status: 503},
		"503 before chunks":            {at: []int{1, 3, 4}, status: 503},
		"broken connection, all taken": {at: []int{2}, keep: chunk},
		"broken connection, some":      {at: []int{1}, keep: 256 << 10},
		"part taken, and it says so":   {at: []int{1, 2, 3}, keep: 100 << 10, status: 308},
	} {
		for _, size := range []int{chunk + 1, 3 * chunk, 3*chunk + 12345} {
			t.Run(fmt.Sprintf("%s, %d bytes", name, size), func(t *testing.T) {
				t.Parallel()
				s := &session{fault: fault}
				b := open(t, nil, s.ServeHTTP)
				if err := b.Put(t.Context(), "k", bytes.NewReader(bodyOf(size)), datastore.PutOptions{IfAbsent: true}); err != nil {
					t.Fatal(err)
				}
				if !s.done || !bytes.Equal(s.data, bodyOf(size)) {
					t.Errorf("the server has %d bytes of %d, done is %v", len(s.data), size, s.done)
				}
				if !strings.Contains(s.opened, "ifGenerationMatch=0") {
					t.Errorf("opened with %q", s.opened)
				}
			})
		}
	}
}

func TestUploadFails(t *testing.T) {
	refuse := func(status int) *session { return &session{fault: fault{at: []int{2}, status: status}} }
	for name, c := range map[string]struct {
		s    *session
		want string
	}{
		"dropped": {refuse(410), "dropped the upload"},
		"denied":  {refuse(403), "no permission"},
		"corrupt": {&session{crc: "AAAAAA=="}, "crc32c AAAAAA=="},
	} {
		b := open(t, nil, c.s.ServeHTTP)
		err := b.Put(t.Context(), "k", bytes.NewReader(bodyOf(3*chunk)), datastore.PutOptions{})
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%s: %v", name, err)
		}
		if errors.Is(err, datastore.ErrCorrupt) != (name == "corrupt") {
			t.Errorf("%s is corrupt or not: %v", name, err)
		}
		if !c.s.dropped {
			t.Errorf("%s: what was left was not dropped", name)
		}
	}
}

func TestCancelledUploadIsDropped(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := &session{}
	b := open(t, nil, s.ServeHTTP)
	sent := 0
	body := readerFunc(func(p []byte) (int, error) {
		if sent += len(p); sent > 3*chunk {
			cancel()
		}
		return len(p), nil
	})
	err := b.Put(ctx, "k", body, datastore.PutOptions{})
	if !errors.Is(err, context.Canceled) || !s.dropped || s.done {
		t.Errorf("%v, dropped is %v, done is %v", err, s.dropped, s.done)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestUploadOfWhatIsThere(t *testing.T) {
	b := open(t, nil, answer(http.StatusPreconditionFailed, ""))
	for _, size := range []int{1, 3 * chunk} {
		if err := b.Put(t.Context(), "k", bytes.NewReader(bodyOf(size)), datastore.PutOptions{IfAbsent: true}); err != nil {
			t.Errorf("%d bytes: %v", size, err)
		}
		if err := b.Put(t.Context(), "k", bytes.NewReader(bodyOf(size)), datastore.PutOptions{}); err == nil {
			t.Errorf("%d bytes: a failed precondition that was not asked for is no error", size)
		}
	}
}
