package transfer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"
)

// notes keeps what a client tells its user.
type notes struct {
	mu    sync.Mutex
	lines []string
}

func (n *notes) add(line string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lines = append(n.lines, line)
}

func (n *notes) all() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return strings.Join(n.lines, "\n")
}

// serve answers with the handlers in turn, the last one again and again, and returns a client for it.
func serve(t *testing.T, n *notes, handlers ...http.HandlerFunc) (*Client, string) {
	t.Helper()
	var count atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i := int(count.Add(1)) - 1
		handlers[min(i, len(handlers)-1)](w, r)
	}))
	t.Cleanup(s.Close)
	c := &Client{HTTP: NewHTTP(), Store: "The store", Notify: n.add}
	t.Cleanup(c.HTTP.CloseIdleConnections)
	return c, s.URL
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

func hangUp(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

// echo answers with the request's body.
func echo(w http.ResponseWriter, r *http.Request) {
	data, _ := io.ReadAll(r.Body)
	_, _ = w.Write(data)
}

// half answers with less than it announces.
func half(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Length", "100")
	_, _ = w.Write(make([]byte, 50))
}

func TestRetries(t *testing.T) {
	t.Parallel()
	for name, failure := range map[string]http.HandlerFunc{
		"503": status(503), "500": status(500), "429": status(429), "408": status(408), "hang up": hangUp, "half an answer": half,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, url := serve(t, &notes{}, failure, failure, echo)
			var got string
			req := Request{Method: "PUT", URL: url, Body: [][]byte{[]byte("one, "), []byte("two")}}
			err := c.Do(t.Context(), req, func(r *http.Response) error {
				data, err := io.ReadAll(r.Body)
				got = string(data)
				return err
			})
			if err != nil || got != "one, two" {
				t.Errorf("Do = %q, %v", got, err)
			}
		})
	}
}

func TestNoRetry(t *testing.T) {
	t.Parallel()
	for _, code := range []int{200, 201, 302, 308, 400, 401, 403, 404, 409, 412, 501} {
		calls := 0
		c, url := serve(t, &notes{}, status(code))
		err := c.Do(t.Context(), Request{Method: "GET", URL: url}, func(r *http.Response) error {
			calls++
			return fmt.Errorf("saw %d", r.StatusCode)
		})
		if err == nil || err.Error() != fmt.Sprintf("saw %d", code) || calls != 1 {
			t.Errorf("%d: %d calls, %v", code, calls, err)
		}
	}
}

func TestOutage(t *testing.T) {
	t.Parallel()
	n := &notes{}
	c, url := serve(t, n, status(503))
	c.Patience = 3 * time.Second
	began := time.Now()
	err := c.Do(t.Context(), Request{Method: "GET", URL: url + "?sig=SECRET"}, nil)
	if took := time.Since(began); err == nil || took > 5*time.Second {
		t.Fatalf("after %v: %v", took, err)
	}
	if !strings.Contains(err.Error(), "The store has not answered for ") || !strings.Contains(err.Error(), "503") {
		t.Errorf("error %v", err)
	}
	if got := n.all(); strings.Count(got, "\n") != 0 || !strings.Contains(got, "does not answer") || !strings.Contains(got, "up to 3s") {
		t.Errorf("notes %q", got)
	}
}

func TestOutageEnds(t *testing.T) {
	t.Parallel()
	n := &notes{}
	fail := status(503)
	c, url := serve(t, n, fail, fail, fail, fail, fail, fail, status(200))
	if err := c.Do(t.Context(), Request{Method: "GET", URL: url}, func(*http.Response) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if got := strings.Split(n.all(), "\n"); len(got) != 2 || !strings.Contains(got[1], "answers again") {
		t.Errorf("notes %q", got)
	}
}

func TestNobodyThere(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(status(200))
	s.Close()
	c := &Client{HTTP: NewHTTP(), Store: "The store", Patience: time.Second}
	err := c.Do(t.Context(), Request{Method: "GET", URL: s.URL + "/?sig=SECRET"}, nil)
	if err == nil || strings.Contains(err.Error(), "SECRET") || !strings.Contains(err.Error(), "refused") {
		t.Errorf("error %v", err)
	}
}

func TestWrongProtocol(t *testing.T) {
	t.Parallel()
	s := httptest.NewTLSServer(status(200))
	defer s.Close()
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	c := &Client{HTTP: NewHTTP(), Store: "The store"}
	began := time.Now()
	err := c.Do(t.Context(), Request{Method: "GET", URL: s.URL}, nil) // its certificate is nobody's
	if err == nil || time.Since(began) > 10*time.Second {
		t.Errorf("an unknown certificate: %v after %v", err, time.Since(began))
	}
}

func TestCancelEndsWaiting(t *testing.T) {
	t.Parallel()
	c, url := serve(t, &notes{}, status(503))
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	began := time.Now()
	err := c.Do(ctx, Request{Method: "GET", URL: url}, nil)
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 2*time.Second {
		t.Errorf("%v after %v", err, time.Since(began))
	}
}

func TestStall(t *testing.T) {
	t.Parallel()
	stall := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	c, url := serve(t, &notes{}, stall, status(200))
	c.Stall = 200 * time.Millisecond
	if err := c.Do(t.Context(), Request{Method: "GET", URL: url}, func(*http.Response) error { return nil }); err != nil {
		t.Errorf("a server that says nothing once: %v", err)
	}
	slow := func(w http.ResponseWriter, _ *http.Request) { // longer than a stall in all, never in one piece
		w.Header().Set("Content-Length", "10")
		for range 10 {
			_, _ = w.Write([]byte("x"))
			_ = http.NewResponseController(w).Flush()
			time.Sleep(60 * time.Millisecond)
		}
	}
	calls := 0
	c, url = serve(t, &notes{}, slow)
	c.Stall = 400 * time.Millisecond
	err := c.Do(t.Context(), Request{Method: "GET", URL: url}, func(r *http.Response) error {
		calls++
		_, err := io.ReadAll(r.Body)
		return err
	})
	if err != nil || calls != 1 {
		t.Errorf("a slow answer: %v after %d calls", err, calls)
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	busy := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(429)
	}
	c, url := serve(t, &notes{}, busy, status(200))
	began := time.Now()
	if err := c.Do(t.Context(), Request{Method: "GET", URL: url}, func(*http.Response) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < time.Second {
		t.Errorf("tried again after %v, asked to wait for a second", took)
	}
}

// object serves data in ranges; broken is called before each answer.
func object(data []byte, broken func() bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if broken() {
			panic(http.ErrAbortHandler)
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
	}
}

func TestReader(t *testing.T) {
	t.Parallel()
	data := make([]byte, 1_000_003)
	for i := range data {
		data[i] = byte(i * 7 >> 3)
	}
	for _, size := range []int{0, 1, 99_999, 100_000, 100_001, 200_000, 1_000_003} {
		var count atomic.Int64
		c, url := serve(t, &notes{}, object(data[:size], func() bool { return count.Add(1)%3 == 1 }))
		pool := NewPool(100_000, 3)
		req := Request{Method: "GET", URL: url}
		refused := func(r *http.Response) error { return fmt.Errorf("refused with %s", r.Status) }
		head, _, total, err := pool.First(t.Context(), c, req, refused)
		if err != nil {
			t.Fatal(err)
		}
		r := pool.NewReader(t.Context(), head, Ranges{Size: total, Parallel: 4, Fetch: func(ctx context.Context, offset int64, buf []byte) error {
			return c.Range(ctx, req, offset, buf, refused)
		}})
		if err := iotest.TestReader(r, data[:size]); err != nil {
			t.Errorf("%d bytes: %v", size, err)
		}
		if err := errors.Join(r.Close(), r.Close()); err != nil {
			t.Error(err)
		}
		if len(pool.spare) != 0 {
			t.Errorf("%d bytes: %d spare buffers were not given back", size, len(pool.spare))
		}
	}
}

func TestReaderFails(t *testing.T) {
	t.Parallel()
	pool, boom := NewPool(10, 2), errors.New("boom")
	head, err := pool.head(t.Context(), 10)
	if err != nil {
		t.Fatal(err)
	}
	r := pool.NewReader(t.Context(), head, Ranges{Size: 100, Parallel: 3, Fetch: func(_ context.Context, offset int64, _ []byte) error {
		if offset == 50 {
			return boom
		}
		return nil
	}})
	if n, err := io.Copy(io.Discard, r); n != 50 || !errors.Is(err, boom) {
		t.Errorf("read %d bytes, %v, want those before the range that failed", n, err)
	}
	if _, err := r.Read(make([]byte, 1)); !errors.Is(err, boom) {
		t.Errorf("reading on: %v", err)
	}
	r.Close()
	if len(pool.spare) != 0 {
		t.Error("buffers were not given back")
	}
}

// Readers that nobody reads must not keep others from moving.
func TestIdleReaders(t *testing.T) {
	t.Parallel()
	pool := NewPool(1000, 2)
	open := func() io.ReadCloser {
		head, err := pool.head(t.Context(), 1000)
		if err != nil {
			t.Fatal(err)
		}
		return pool.NewReader(t.Context(), head, Ranges{Size: 10_000, Parallel: 4, Fetch: func(context.Context, int64, []byte) error { return nil }})
	}
	for range 5 {
		idle := open()
		if _, err := idle.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		defer idle.Close()
	}
	r := open()
	defer r.Close()
	if n, err := io.Copy(io.Discard, r); n != 10_000 || err != nil {
		t.Errorf("read %d bytes, %v", n, err)
	}
}

func TestSend(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1_000, 1_001, 5_000, 5_500} {
		for _, parallel := range []int{1, 4} {
			pool := NewPool(1000, 2)
			body := pool.Body(iotest.OneByteReader(bytes.NewReader(bytes.Repeat([]byte("x"), size))))
			first, last, err := body.Next(t.Context())
			if err != nil || last {
				t.Fatal(last, err)
			}
			var mu sync.Mutex
			got, order := 0, []int{}
			n, err := body.Send(t.Context(), first, last, parallel, func(_ context.Context, p Part) error {
				mu.Lock()
				defer mu.Unlock()
				got += len(p.Data)
				order = append(order, p.Index)
				if p.Last != (p.Offset+int64(len(p.Data)) == int64(size) && len(p.Data) < 1000) {
					t.Errorf("part %d at %d of %d bytes: last is %v", p.Index, p.Offset, len(p.Data), p.Last)
				}
				return nil
			})
			if err != nil || n != int64(size) || got != size {
				t.Errorf("sent %d of %d bytes, said %d, %v", got, size, n, err)
			}
			for i, index := range order {
				if parallel == 1 && i != index {
					t.Errorf("parts came as %v", order)
				}
			}
			if len(pool.spare) != 0 {
				t.Error("buffers were not given back")
			}
		}
	}
}

func TestSendFails(t *testing.T) {
	t.Parallel()
	boom := errors.New("boom")
	for name, c := range map[string]struct {
		body io.Reader
		send error
	}{
		"body": {io.MultiReader(strings.NewReader(strings.Repeat("x", 5500)), iotest.ErrReader(boom)), nil},
		"send": {strings.NewReader(strings.Repeat("x", 50_000)), boom},
	} {
		pool := NewPool(1000, 2)
		body := pool.Body(c.body)
		first, last, err := body.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err = body.Send(t.Context(), first, last, 3, func(context.Context, Part) error { return c.send }); !errors.Is(err, boom) {
			t.Errorf("%s: %v", name, err)
		}
		if len(pool.spare) != 0 {
			t.Errorf("%s: buffers were not given back", name)
		}
	}
}

func TestHeaderJSON(t *testing.T) {
	for in, want := range map[string]string{
		`{"cas_raw": true, "cas_version": 1}`: `{"cas_raw": true, "cas_version": 1}`,
		`{"a":"é 日😀"}`:                        `{"a":"\u00e9 \u65e5\ud83d\ude00"}`,
		"{\n  \"a\":\t\"x  y \"\r\n}\n":       `{ "a": "x \u0020y " }`,
		`"\" \\  "`:                           `"\" \\ \u0020"`,
		`1`:                                   `1`,
	} {
		if got, err := HeaderJSON([]byte(in)); err != nil || got != want {
			t.Errorf("HeaderJSON(%q) = %q, %v, want %q", in, got, err, want)
		}
	}
	for _, bad := range []string{"", "{", "\xff", "\"\xff\"", "{}\r\nX-Evil: 1"} {
		if got, err := HeaderJSON([]byte(bad)); err == nil {
			t.Errorf("HeaderJSON(%q) = %q", bad, got)
		}
	}
}

func FuzzHeaderJSON(f *testing.F) {
	f.Add([]byte(`{"a": "\u00e9  \\\" 😀", "b": [1, 2.5e3, null]}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		got, err := HeaderJSON(in)
		if err != nil {
			return
		}
		for i := range len(got) {
			if got[i] < ' ' || got[i] > '~' {
				t.Fatalf("%q holds %q", got, got[i])
			}
		}
		if strings.Contains(got, "  ") || strings.TrimSpace(got) != got || !sameJSON(in, []byte(got)) {
			t.Fatalf("%q became %q", in, got)
		}
	})
}
