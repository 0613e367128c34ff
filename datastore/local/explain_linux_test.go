package local

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"
)

func TestErrorsSayWhatToDo(t *testing.T) {
	b, err := Open("/data/.metaflow")
	if err != nil {
		t.Fatal(err)
	}
	for cause, say := range map[error]string{
		syscall.ENOSPC: "disk or quota is full; free some space",
		syscall.EDQUOT: "disk or quota is full",
		syscall.EROFS:  "read-only",
		syscall.EACCES: "no permission; check the owner and mode of /data/.metaflow",
		syscall.EPERM:  "no permission",
		syscall.EIO:    "input/output error",
	} {
		for _, wrapped := range []error{
			&fs.PathError{Op: "openat", Path: ".tmp-x", Err: cause},
			&os.LinkError{Op: "rename", Old: ".tmp-x", New: "k", Err: cause},
		} {
			got := b.explain("writing", "F/k", wrapped)
			if !errors.Is(got, cause) || !strings.HasPrefix(got.Error(), "writing /data/.metaflow/F/k: ") || !strings.Contains(got.Error(), say) {
				t.Errorf("%v became %v", cause, got)
			}
			if strings.Contains(got.Error(), ".tmp-x") {
				t.Errorf("%v names the temporary file", got)
			}
		}
	}
}

// A disk that is full while an object or a log is written.
func TestFullDisk(t *testing.T) {
	b, err := Open("/data/.metaflow")
	if err != nil {
		t.Fatal(err)
	}
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatalf("this test needs Linux's /dev/full: %v", err)
	}
	defer full.Close()
	for name, err := range map[string]error{
		"small body": fill(t.Context(), full, strings.NewReader("x")),
		"large body": fill(t.Context(), full, bytes.NewReader(make([]byte, 3<<20))),
	} {
		if !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := (&appender{f: full, b: b, key: "F/log"}).Write([]byte("x")); err == nil || !strings.Contains(err.Error(), "full") {
		t.Errorf("log: %v", err)
	}
}
