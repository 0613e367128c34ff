package main

import (
	"bytes"
	"errors"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
)

func TestBuildAndPush(t *testing.T) {
	server := httptest.NewServer(registry.New())
	defer server.Close()
	dir := t.TempDir()
	program := filepath.Join(dir, "program")
	if err := os.WriteFile(program, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	ref := strings.TrimPrefix(server.URL, "http://") + "/tool:1"
	var built, pushed, stderr bytes.Buffer
	args := []string{"build", "-ref", ref, "-o", filepath.Join(dir, "layout"), "-o", filepath.Join(dir, "a.tar"),
		"-file", program + ":/bin/program:0555", "-dir", "/tmp:1777", "-platform", "linux/amd64,linux/arm64", "-label", "a=b=c"}
	if err := run(t.Context(), args, "1700000000", &built, &stderr); err != nil {
		t.Fatalf("%v\n%s", err, &stderr)
	}
	if err := run(t.Context(), []string{"push", "-from", filepath.Join(dir, "layout"), ref}, "", &pushed, &stderr); err != nil {
		t.Fatalf("%v\n%s", err, &stderr)
	}
	digest, _, _ := strings.Cut(built.String(), " ")
	if !strings.HasPrefix(digest, "sha256:") || !strings.Contains(pushed.String(), "@"+digest+"\n") {
		t.Errorf("built %q, pushed %q", &built, &pushed)
	}
	if _, err := os.Stat(filepath.Join(dir, "a.tar")); err != nil {
		t.Error(err)
	}
}

func TestMistakes(t *testing.T) {
	dir := t.TempDir()
	for _, test := range []struct {
		args  string
		epoch string
		want  string
	}{
		{"", "", ""},
		{"bake", "", ""},
		{"build", "", ""},
		{"build -ref a -o " + dir + " extra", "", ""},
		{"build -what", "", ""},
		{"push a", "", ""},
		{"build -ref a -o x.tar -file nothing", "", "-file nothing is not SOURCE:TARGET"},
		{"build -ref a -o x.tar -file a:/b:9", "", "-file a:/b:9 is not"},
		{"build -ref a -o x.tar -dir /b:77777", "", "-dir /b:77777 is not"},
		{"build -ref a -o x.tar -label x", "", "-label x is not NAME=VALUE"},
		{"build -ref a -o x.tar", "today", "SOURCE_DATE_EPOCH"},
		{"push -from " + dir + " localhost:1/a", "", "is no image layout"},
	} {
		var out, stderr bytes.Buffer
		err := run(t.Context(), strings.Fields(test.args), test.epoch, &out, &stderr)
		if test.want == "" && (!errors.Is(err, errUsage) || stderr.Len() == 0) || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: %v, want %q\n%s", test.args, err, test.want, &stderr)
		}
	}
}
