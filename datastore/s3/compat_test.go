package s3_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/datastore/local"
	"github.com/mf-run/mf/internal/testserver"
)

// metaflow runs a script with the real Metaflow and decodes the JSON that it prints.
func metaflow(t *testing.T, bucket testserver.Bucket, into any, script string, args ...string) {
	t.Helper()
	python := os.Getenv("MF_TEST_METAFLOW_PYTHON")
	if python == "" {
		python = filepath.Join("..", "..", ".cache", "venv-metaflow", "bin", "python")
	}
	python, err := filepath.Abs(python)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(python); err != nil {
		t.Fatalf("this test needs the real Metaflow with boto3: run scripts/test-setup.sh, or set MF_TEST_METAFLOW_PYTHON (%v)", err)
	}
	home := t.TempDir()
	cmd := exec.CommandContext(t.Context(), python, append([]string{"-c", script}, args...)...)
	cmd.Dir = home
	cmd.Env = append(os.Environ(), bucket.Environ()...)
	cmd.Env = append(cmd.Env, "METAFLOW_HOME="+home, "METAFLOW_USER=tester", "HOME="+home, "METAFLOW_S3_ENDPOINT_URL="+bucket.Endpoint)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err == nil {
		err = json.Unmarshal(out, into)
	}
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, out, stderr.Bytes())
	}
}

// blobs are some of each way of packing.
func blobs() [][]byte {
	floats := make([]byte, 0, 21<<20)
	for rng := rand.New(rand.NewPCG(3, 4)); len(floats) < cap(floats); {
		floats = binary.LittleEndian.AppendUint64(floats, math.Float64bits(rng.Float64()))
	}
	return [][]byte{
		[]byte("small"), []byte(strings.Repeat("middling ", 20_000)), []byte(strings.Repeat("large and compressible ", 1_000_000)), floats,
		append(bytes.Clone(floats[:3<<20]), strings.Repeat("half and half ", 400_000)...),
	}
}

const readBlobs = `
import hashlib, json, sys
from metaflow.datastore import FlowDataStore
from metaflow.plugins.datastores.s3_storage import S3Storage
from metaflow.plugins.datastores.local_storage import LocalStorage
out = {}
for kind, root in ((S3Storage, sys.argv[1]), (LocalStorage, sys.argv[2])):
    flow = FlowDataStore('F', storage_impl=kind, ds_root=root)
    out[kind.TYPE] = {key: hashlib.sha1(blob).hexdigest() for key, blob in flow.ca_store.load_blobs(sys.argv[3:])}
json.dump(out, sys.stdout)
`

func TestMetaflowReadsOurBlobs(t *testing.T) {
	bucket := testserver.NewBucket(t)
	remote := open(t, bucket)
	disk, err := local.Open(filepath.Join(t.TempDir(), ".metaflow"))
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	args := []string{remote.Root(), disk.Root()}
	want := map[string]string{}
	for i, data := range blobs() {
		file := filepath.Join(t.TempDir(), "blob")
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		var digest string
		for _, b := range []datastore.Backend{remote, disk} {
			if s := datastore.New(b); i%2 == 0 {
				digest, err = s.SaveBytes(t.Context(), "F", data)
			} else {
				digest, _, err = s.SaveFile(t.Context(), "F", file)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		args, want[digest] = append(args, digest), digest
	}
	var got map[string]map[string]string
	metaflow(t, bucket, &got, readBlobs, args...)
	for _, kind := range []string{"s3", "local"} {
		if len(got[kind]) != len(want) {
			t.Errorf("from %s, Metaflow reads %v", kind, got[kind])
		}
		for digest := range want {
			if got[kind][digest] != digest {
				t.Errorf("from %s, Metaflow reads blob %s as %s", kind, digest, got[kind][digest])
			}
		}
	}
}

const writeBlobs = `
import json, sys
from metaflow.datastore import FlowDataStore
from metaflow.plugins.datastores.s3_storage import S3Storage
flow = FlowDataStore('F', storage_impl=S3Storage, ds_root=sys.argv[1])
blobs = [b'', b'small', b'large and compressible ' * 1000000, bytes(i * i % 251 for i in range(9000000))]
t = flow.get_task_datastore('12', 'start', '3', attempt=0, mode='w')
t.init_task()
t.save_artifacts([('x', 42)])
t.done()
packed = [r.key for r in flow.ca_store.save_blobs(iter(blobs), len_hint=len(blobs))]
(_, raw), = flow.save_data([b'code package'])
json.dump({'packed': packed, 'sizes': [len(b) for b in blobs], 'raw': raw}, sys.stdout)
`

func TestWeReadMetaflowsBlobs(t *testing.T) {
	bucket := testserver.NewBucket(t)
	b := open(t, bucket)
	var wrote struct {
		Packed []string
		Sizes  []int
		Raw    string
	}
	metaflow(t, bucket, &wrote, writeBlobs, b.Root())
	s := datastore.New(b)
	for i, digest := range wrote.Packed {
		if data, err := s.Load(t.Context(), "F", digest); err != nil || len(data) != wrote.Sizes[i] || datastore.Digest(data) != digest {
			t.Errorf("blob %s: %d bytes, %v", digest, len(data), err)
		}
	}
	if data, err := s.Load(t.Context(), "F", wrote.Raw); err != nil || string(data) != "code package" {
		t.Errorf("raw blob %q, %v", data, err)
	}
	rec, done, err := s.Latest(t.Context(), datastore.TaskRef{Flow: "F", Run: "12", Step: "start", Task: "3"})
	if err != nil || !done || len(rec.Artifacts) != 1 {
		t.Errorf("Latest = %+v, %v, %v", rec, done, err)
	}
}
