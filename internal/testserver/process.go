//go:build unix

// Package testserver starts the servers that tests run against: Postgres, S3, GCS and Azure. They are the ones that
// scripts/test-setup.sh brings; a test fails, and says what to do, where one is missing.
//
// A server is a child of the test process and ends with it, however that ends.
package testserver

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// startLimit is how long a server may take to answer: test machines are slow at times.
const startLimit = 60 * time.Second

// root returns a path below the module's root.
func root(path ...string) string {
	_, file, _, _ := goruntime.Caller(0)
	return filepath.Join(append([]string{filepath.Dir(filepath.Dir(filepath.Dir(file)))}, path...)...)
}

// tool returns the path of a program below .cache; the test fails if it is missing.
func tool(t TB, path ...string) string {
	t.Helper()
	file := root(append([]string{".cache"}, path...)...)
	if _, err := os.Stat(file); err != nil {
		t.Fatalf("%s is missing: run make setup", file)
	}
	return file
}

// freePort returns a port of this machine that nothing listens on.
func freePort(t TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// guard is a shell that ends the server and removes its folder once its standard input is at its end, which is when the
// test process is gone. A line of input ends the server alone.
const guard = `dir=$1; signal=$2; shift 2
trap '' INT
"$@" & pid=$!
if read -r line; then keep=1; else keep=; fi
kill -"$signal" $pid 2>/dev/null
wait $pid 2>/dev/null
[ -n "$keep" ] || rm -rf "$dir"`

// process is one running server.
type process struct {
	cmd   *exec.Cmd
	input io.WriteCloser
	log   string
	done  chan struct{}
}

// spec says what to start.
type spec struct {
	// dir is the server's folder, which is removed in the end.
	dir string
	// signal ends the server: QUIT, KILL …
	signal string
	args   []string
	env    []string
	// credential is the user that runs it; nil for the present one.
	credential *syscall.Credential
	// ready reports whether it answers.
	ready func(ctx context.Context) error
}

// start starts a server and waits until it answers.
func start(s spec) (*process, error) {
	logFile, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o666)
	if err != nil {
		return nil, err
	}
	defer logFile.Close()
	p := &process{log: logFile.Name(), done: make(chan struct{})}
	p.cmd = exec.Command("/bin/sh", append([]string{"-c", guard, "sh", s.dir, s.signal}, s.args...)...)
	p.cmd.Env = append(os.Environ(), s.env...)
	p.cmd.Dir = s.dir
	p.cmd.Stdout, p.cmd.Stderr = logFile, logFile
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: s.credential}
	if p.input, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.done)
	}()
	if err := p.await(s.ready); err != nil {
		p.stop(false)
		return nil, err
	}
	return p, nil
}

// await waits until the server answers.
func (p *process) await(ready func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("it ended at once:\n%s", p.tail())
		case <-ctx.Done():
			return fmt.Errorf("no answer in %s: %w\n%s", startLimit, err, p.tail())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// tail returns the end of the server's log.
func (p *process) tail() string {
	data, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(data[max(0, len(data)-2000):])
}

// stop ends the server; with keep its folder stays.
func (p *process) stop(keep bool) {
	if keep {
		_, _ = io.WriteString(p.input, "stop\n")
	}
	_ = p.input.Close()
	<-p.done
}

// answers reports whether something listens on an address.
func answers(address string) func(ctx context.Context) error {
	return func(ctx context.Context) error {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err != nil {
			return err
		}
		return conn.Close()
	}
}

func local(port int) string { return "127.0.0.1:" + strconv.Itoa(port) }

// folder makes a folder that the given user may write to.
func folder(credential *syscall.Credential) (string, error) {
	dir, err := os.MkdirTemp("", "mf-testserver-")
	if err != nil {
		return "", err
	}
	if credential == nil {
		return dir, nil
	}
	return dir, os.Chown(dir, int(credential.Uid), int(credential.Gid))
}

// unique makes names of databases and buckets from names of tests.
func unique(name string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(name) {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			b.WriteRune(r)
		}
	}
	text := b.String()
	return "t" + text[:min(len(text), 30)] + strconv.FormatInt(time.Now().UnixNano()%1e12, 36)
}
