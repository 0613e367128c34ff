package server

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// serving is a server on a port.
type serving struct {
	addr string
	stop context.CancelFunc
	// ended gets what Serve returns.
	ended chan error
}

func serve(t *testing.T, conf Config, secure *tls.Config) *serving {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &serving{addr: listener.Addr().String(), stop: cancel, ended: make(chan error, 1)}
	go func() { s.ended <- New(conf).Serve(ctx, listener, secure) }()
	t.Cleanup(cancel)
	return s
}

func (s *serving) url(path string) string { return "http://" + s.addr + path }

// send posts a body and returns the status; 0 if there is no answer.
func send(client *http.Client, method, url string, body io.Reader, head http.Header) (int, string, error) {
	r, err := http.NewRequest(method, url, body)
	if err != nil {
		return 0, "", err
	}
	for k, v := range head {
		r.Header[k] = v
	}
	answer, err := client.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	return answer.StatusCode, string(text), err
}

func TestStopLosesNothing(t *testing.T) {
	db := newMemDB()
	db.fault = func(context.Context) error { time.Sleep(2 * time.Millisecond); return nil }
	s := serve(t, Config{DB: db, Store: newMemStore(), Linger: 200 * time.Millisecond}, nil)
	var answered, cut atomic.Int64
	var group sync.WaitGroup
	stopped := make(chan struct{})
	for c := range 16 {
		group.Go(func() {
			client := &http.Client{Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			for i := 0; ; i++ {
				status, _, err := send(client, "POST", s.url(fmt.Sprintf("/flows/F-%d-%d", c, i)), strings.NewReader("{}"), nil)
				if err != nil {
					select {
					case <-stopped:
					default:
						t.Errorf("an error before the stop: %v", err)
					}
					cut.Add(1)
					return
				}
				if status != http.StatusOK {
					t.Errorf("status %d", status)
				}
				answered.Add(1)
			}
		})
	}
	time.Sleep(300 * time.Millisecond)
	before := answered.Load()
	close(stopped)
	s.stop()
	if err := <-s.ended; err != nil {
		t.Error(err)
	}
	group.Wait()
	if n := answered.Load(); int(n) != len(db.flows) || n <= before || before == 0 {
		t.Errorf("%d answered, %d before the stop, %d done", n, before, len(db.flows))
	}
}

func TestStopWaitsForWork(t *testing.T) {
	db := newMemDB()
	began, goOn := make(chan struct{}), make(chan struct{})
	var once sync.Once
	db.fault = func(context.Context) error {
		once.Do(func() { close(began) })
		<-goOn
		return nil
	}
	s := serve(t, Config{DB: db, Store: newMemStore(), Linger: time.Millisecond, Grace: time.Minute}, nil)
	got := make(chan string, 1)
	go func() {
		status, _, err := send(http.DefaultClient, "POST", s.url("/flows/F"), strings.NewReader("{}"), nil)
		got <- fmt.Sprint(status, err)
	}()
	<-began
	s.stop()
	select {
	case err := <-s.ended:
		t.Fatalf("ended with a request at work: %v", err)
	case <-time.After(200 * time.Millisecond):
	}
	close(goOn)
	if err := <-s.ended; err != nil {
		t.Error(err)
	}
	if g := <-got; g != "200 <nil>" {
		t.Error(g)
	}

	// Beyond the grace the rest is cut off and told.
	db = newMemDB()
	block := make(chan struct{})
	defer close(block)
	began = make(chan struct{})
	var again sync.Once
	db.fault = func(context.Context) error { again.Do(func() { close(began) }); <-block; return nil }
	s = serve(t, Config{DB: db, Store: newMemStore(), Linger: time.Millisecond, Grace: 50 * time.Millisecond}, nil)
	go func() { _, _, _ = send(http.DefaultClient, "GET", s.url("/flows"), nil, nil) }()
	<-began
	s.stop()
	if err := <-s.ended; err == nil || !strings.Contains(err.Error(), "still at work") {
		t.Error(err)
	}
}

func TestManyHeartbeats(t *testing.T) {
	s := serve(t, Config{DB: newMemDB(), Store: newMemStore()}, nil)
	client := &http.Client{Transport: &http.Transport{MaxConnsPerHost: 500, MaxIdleConnsPerHost: 500}, Timeout: time.Minute}
	defer client.CloseIdleConnections()
	must := func(path, body string) string {
		t.Helper()
		status, text, err := send(client, "POST", s.url(path), strings.NewReader(body), nil)
		if status != 200 {
			t.Fatalf("%s: %d %s %v", path, status, text, err)
		}
		return text
	}
	must("/flows/F", "{}")
	run := member(t, result{body: must("/flows/F/run", "{}")}, "run_number")
	must("/flows/F/runs/"+run+"/steps/s/step", "{}")
	task := member(t, result{body: must("/flows/F/runs/"+run+"/steps/s/task", "{}")}, "task_id")
	var group sync.WaitGroup
	var failed atomic.Int64
	for range 10_000 {
		group.Go(func() {
			status, _, err := send(client, "POST", s.url("/flows/F/runs/"+run+"/steps/s/tasks/"+task+"/heartbeat"), nil, nil)
			if status != 200 {
				failed.Add(1)
				t.Log(status, err)
			}
		})
	}
	group.Wait()
	if n := failed.Load(); n > 0 {
		t.Errorf("%d heartbeats failed", n)
	}
}

func TestSlowClients(t *testing.T) {
	s := serve(t, Config{DB: newMemDB(), Store: newMemStore(), MaxInFlight: 1, BodyTime: 3 * time.Second}, nil)
	var slow []net.Conn
	for range 20 {
		c, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprintf(c, "POST /flows/S HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
		slow = append(slow, c)
	}
	// They hold no place: others are served meanwhile.
	start := time.Now()
	status, _, err := send(http.DefaultClient, "POST", s.url("/flows/F"), strings.NewReader("{}"), nil)
	if status != 200 || time.Since(start) > 2500*time.Millisecond {
		t.Errorf("%d %v after %s", status, err, time.Since(start))
	}
	for _, c := range slow[:2] {
		_ = c.SetReadDeadline(time.Now().Add(30 * time.Second))
		answer, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err == nil && answer.StatusCode != http.StatusBadRequest {
			t.Errorf("status %d", answer.StatusCode)
		}
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			t.Error("the connection was kept")
		}
	}
}

func TestLargeBodies(t *testing.T) {
	db := newMemDB()
	s := serve(t, Config{DB: db, Store: newMemStore(), MaxBody: 4 << 20, MaxLarge: 1}, nil)
	const limit = "which is the limit"
	big := `{"tags":"` + strings.Repeat("x", 5<<20) + `"}`
	zip := func(text string) *bytes.Buffer {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		_, _ = io.WriteString(w, text)
		_ = w.Close()
		return &b
	}
	gz := http.Header{"Content-Encoding": {"gzip"}}
	for name, c := range map[string]struct {
		body   io.Reader
		head   http.Header
		status int
		text   string
	}{
		"told":         {strings.NewReader(big), nil, 413, limit},
		"chunked":      {io.MultiReader(strings.NewReader(big)), nil, 413, limit},
		"packed":       {zip(big), gz, 413, limit},
		"bomb":         {zip(`{"tags":"` + strings.Repeat("x", 64<<20) + `"}`), gz, 413, limit},
		"fits":         {strings.NewReader(`{"tags":"` + strings.Repeat("x", 3<<20) + `"}`), nil, 200, ""},
		"packed, fits": {zip(`{"tags":"` + strings.Repeat("x", 3<<20) + `"}`), gz, 200, ""},
		"no gzip":      {strings.NewReader("{}"), gz, 400, "could not be read"},
		"torn":         {bytes.NewReader(zip(`{"tags":[]}`).Bytes()[:20]), gz, 400, "could not be read"},
		"unknown":      {strings.NewReader("{}"), http.Header{"Content-Encoding": {"br"}}, 415, "gzip"},
	} {
		t.Run(name, func(t *testing.T) {
			status, text, err := send(http.DefaultClient, "POST", s.url("/flows/"+name[:4]+strconv.Itoa(len(name))), c.body, c.head)
			if status != c.status || !strings.Contains(text, c.text) {
				t.Errorf("%d %.200s %v", status, text, err)
			}
		})
	}
	head := http.Header{"X-Long": {strings.Repeat("x", 100<<10)}}
	if status, _, err := send(http.DefaultClient, "GET", s.url("/flows"), nil, head); status != 431 {
		t.Errorf("long header: %d %v", status, err)
	}
}

func TestBusy(t *testing.T) {
	db := newMemDB()
	block, inside := make(chan struct{}), make(chan struct{}, 8)
	db.fault = func(context.Context) error { inside <- struct{}{}; <-block; return nil }
	a := newAPI(t, Config{DB: db, Store: newMemStore(), MaxInFlight: 2, QueueTime: 20 * time.Millisecond})
	var group sync.WaitGroup
	for range 2 {
		group.Go(func() { a.do("GET", "/flows", "") })
		<-inside
	}
	for _, path := range []string{"/flows", "/mf/v1/info"} {
		if got := a.want("GET", path, "", 503, ""); got.head.Get("Retry-After") == "" {
			t.Errorf("%s: no Retry-After", path)
		}
	}
	a.text("GET", "/ping", "", 200, "pong")
	a.text("GET", "/metrics", "", 200, "mf_service_refused_busy_total 2")
	close(block)
	group.Wait()
	a.want("GET", "/flows", "", 200, "[]")
}

func TestSlowDatabaseIsUnavailable(t *testing.T) {
	db := newMemDB()
	db.fault = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	a := newAPI(t, Config{DB: db, Store: newMemStore(), RequestTime: 20 * time.Millisecond})
	a.want("GET", "/flows", "", 503, "")
	a.want("POST", "/flows/F", "{}", 503, "")
}

func TestWriteOutlivesItsClient(t *testing.T) {
	db := newMemDB()
	began, goOn, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	db.fault = func(ctx context.Context) error {
		close(began)
		<-goOn
		done <- ctx.Err()
		return ctx.Err()
	}
	s := serve(t, Config{DB: db, Store: newMemStore()}, nil)
	ctx, leave := context.WithCancel(context.Background())
	r, _ := http.NewRequestWithContext(ctx, "POST", s.url("/flows/F"), strings.NewReader("{}"))
	go func() {
		if answer, err := http.DefaultClient.Do(r); err == nil {
			answer.Body.Close()
		}
	}()
	<-began
	leave()
	time.Sleep(50 * time.Millisecond)
	close(goOn)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestTLS(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t, Config{DB: newMemDB(), Store: newMemStore()},
		&tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS12})
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	for _, http2 := range []bool{false, true} {
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: http2}}
		status, text, err := send(client, "GET", "https://"+s.addr+"/ping", nil, nil)
		if status != 200 || text != "pong" {
			t.Errorf("%d %q %v", status, text, err)
		}
		client.CloseIdleConnections()
	}
	if status, _, _ := send(http.DefaultClient, "GET", s.url("/ping"), nil, nil); status == 200 {
		t.Error("served without TLS")
	}
	s.stop()
	if err := <-s.ended; err != nil {
		t.Error(err)
	}
}
