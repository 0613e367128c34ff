//go:build linux

package cluster

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"
)

// TestIdentity has a process that ended be told from one that got its id later.
func TestIdentity(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	id, err := identify(cmd.Process.Pid)
	if err != nil || !id.alive() {
		t.Fatalf("%+v, %v: want a living process", id, err)
	}
	other := identity{id.PID, id.Start + "0"}
	other.kill(syscall.SIGKILL)
	if other.alive() || !id.alive() {
		t.Error("a process of another start was taken for this one")
	}
	go func() { _ = cmd.Wait() }()
	id.end(5 * time.Second)
	if id.alive() {
		t.Error("the process is still there")
	}
	if _, err := identify(1 << 30); err == nil {
		t.Error("a process that is not there has an identity")
	}
}

// TestProcess has the error of a part that ends at once hold what it said.
func TestProcess(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "log"), 0o755); err != nil {
		t.Fatal(err)
	}
	p, err := startProcess("part", dir, nil, []string{"sh", "-c", "sleep 0.2; echo the port is taken >&2; exit 3"})
	if err != nil {
		t.Fatal(err)
	}
	err = p.await(t.Context(), 10*time.Second, func(context.Context) error { return errors.New("no answer") })
	if err == nil || !strings.Contains(err.Error(), "part has ended:\nthe port is taken") {
		t.Errorf("error %v", err)
	}
	if _, err := startProcess("part", dir, nil, []string{filepath.Join(dir, "missing")}); err == nil {
		t.Error("a missing program was started")
	}
}

// TestOneOwner has a second owner of a folder refused, and what is left of one that was killed swept up.
func TestOneOwner(t *testing.T) {
	repo := t.TempDir()
	dir, err := root(repo)
	if err != nil {
		t.Fatal(err)
	}
	held, err := lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lock(dir); err == nil || !locked(dir) {
		t.Error("the lock was given twice")
	}
	held.Close()
	if locked(dir) {
		t.Error("the lock outlived its owner")
	}
	if _, err := Attach(repo); !errors.Is(err, ErrNotUp) {
		t.Errorf("attaching to nothing: %v", err)
	}
	if was, err := Down(t.Context(), repo); was || err != nil {
		t.Errorf("taking nothing down: %v, %v", was, err)
	}
	left := exec.Command("sleep", "60")
	if err := left.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = left.Wait() }()
	id, err := identify(left.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	memory := filepath.Join(t.TempDir(), "memory")
	for _, d := range []string{memory, filepath.Join(dir, "cluster", "log")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	s := &state{Owner: 1, Memory: memory, Parts: map[string]identity{partEtcd: id}, Ready: true}
	if err := s.write(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := Attach(repo); !errors.Is(err, ErrNotUp) {
		t.Errorf("attaching to a cluster without an owner: %v", err)
	}
	if was, err := Down(t.Context(), repo); !was || err != nil {
		t.Errorf("sweeping up: %v, %v", was, err)
	}
	if id.alive() {
		t.Error("a process was left")
	}
	if left, err := Left(repo); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	for _, path := range []string{memory, filepath.Join(dir, "cluster"), stateFile(dir)} {
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s was left: %v", path, err)
		}
	}
}

// TestLongPath has a clone refused in which sockets would have no room for their addresses.
func TestLongPath(t *testing.T) {
	repo := filepath.Join(t.TempDir(), strings.Repeat("long", 20))
	if _, err := root(repo); err == nil || !strings.Contains(err.Error(), "shorter") {
		t.Errorf("error %v", err)
	}
}

// TestKeys has the certificates be good for what they are used for, and the kubeconfig trust their authority.
func TestKeys(t *testing.T) {
	root := t.TempDir()
	keys := filepath.Join(root, "cluster", "keys")
	token, err := writeKeys(keys)
	if err != nil {
		t.Fatal(err)
	}
	read := func(name string) *x509.Certificate {
		data, err := os.ReadFile(filepath.Join(keys, name+".crt"))
		if err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode(data)
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		return cert
	}
	pool := x509.NewCertPool()
	pool.AddCert(read("ca"))
	if _, err := read("apiserver").Verify(x509.VerifyOptions{Roots: pool, DNSName: apiAddress}); err != nil {
		t.Error(err)
	}
	usage := []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if _, err := read("kubelet-client").Verify(x509.VerifyOptions{Roots: pool, KeyUsages: usage}); err != nil {
		t.Error(err)
	}
	data, err := kubeConfig(root, token, "flows")
	if err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.RESTConfigFromKubeConfig(data)
	if err != nil || config.BearerToken != token || config.Host != apiServer || !pool.AppendCertsFromPEM(config.CAData) {
		t.Errorf("kubeconfig %s: %v", data, err)
	}
}

// TestDecode reads what manifests hold: several documents, empty ones and comments.
func TestDecode(t *testing.T) {
	objects, err := decode([]byte("# nothing\n---\nkind: A\nmetadata: {name: a}\n---\n\n---\nkind: B\nmetadata: {name: b}\n"))
	if err != nil || len(objects) != 2 || objects[1].GetName() != "b" {
		t.Errorf("%v, %v", objects, err)
	}
	if _, err := decode([]byte("kind: [")); err == nil {
		t.Error("half a document was read")
	}
}

// TestReadiness has a server be ready that answers, and one that does not be not.
func TestReadiness(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ready := listens(l.Addr().String())
	if err := ready(t.Context()); err != nil {
		t.Error(err)
	}
	l.Close()
	if ready(t.Context()) == nil {
		t.Error("a closed port is taken for an open one")
	}
	if err := poll(t.Context(), 50*time.Millisecond, time.Millisecond, func(context.Context) error { return errors.New("not yet") }); err == nil ||
		!strings.Contains(err.Error(), "not yet") {
		t.Errorf("waiting in vain: %v", err)
	}
}

// TestStamp has a stamp change with the sources, and stay as long as they do.
func TestStamp(t *testing.T) {
	dir := t.TempDir()
	b := &builder{}
	write := func(text string) string {
		if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		stamp, err := b.stamp([]string{dir})
		if err != nil {
			t.Fatal(err)
		}
		return stamp
	}
	first := write("module a")
	if write("module b") == first || write("module a") != first {
		t.Error("the stamp does not follow the source")
	}
}

// TestCopySources leaves out what programs are not made of.
func TestCopySources(t *testing.T) {
	from, to := t.TempDir(), filepath.Join(t.TempDir(), "to")
	for _, name := range []string{"a.go", "a_test.go", "pkg/b.go", "docs/c.go", "pkg/docs/d.go"} {
		file := filepath.Join(from, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, nil, 0o444)); err != nil {
			t.Fatal(err)
		}
	}
	if err := copySources(from, to); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"a.go": true, "a_test.go": false, "pkg/b.go": true, "docs": false, "pkg/docs/d.go": true} {
		if _, err := os.Stat(filepath.Join(to, name)); (err == nil) != want {
			t.Errorf("%s: %v, want it copied: %v", name, err, want)
		}
	}
}
