//go:build unix

package testserver

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strconv"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
)

// Bucket is an S3 bucket of a test.
type Bucket struct {
	// Endpoint is the server's URL; buckets are addressed by path.
	Endpoint, Name, Region, AccessKey, SecretKey string
}

// Environ returns the settings with which an AWS SDK reaches the bucket's server.
func (b Bucket) Environ() []string {
	return []string{"AWS_ENDPOINT_URL_S3=" + b.Endpoint, "AWS_REGION=" + b.Region, "AWS_DEFAULT_REGION=" + b.Region,
		"AWS_ACCESS_KEY_ID=" + b.AccessKey, "AWS_SECRET_ACCESS_KEY=" + b.SecretKey, "AWS_EC2_METADATA_DISABLED=true"}
}

// S3 is a server of one test.
type S3 struct {
	t TB
	// Root is the folder that holds a folder for each bucket, and in it a file for each object.
	Root    string
	dir     string
	port    int
	process *process
}

const (
	s3Access = "mf-test-access"
	s3Secret = "mf-test-secret-key"
	s3Region = "us-east-1"
)

// NewBucket returns a new, empty bucket on an S3 server that all tests of the process share.
func NewBucket(t TB) Bucket {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.s3 == nil {
		shared.s3 = newS3(t)
	}
	return shared.s3.Bucket(t)
}

// StartS3 starts a server for this test alone.
func StartS3(t TB) *S3 {
	t.Helper()
	s := newS3(t)
	t.Cleanup(func() {
		s.process.stop(false)
		os.RemoveAll(s.dir)
	})
	return s
}

func newS3(t TB) *S3 {
	t.Helper()
	dir, err := folder(nil)
	if err != nil {
		t.Fatal(err)
	}
	s := &S3{t: t, dir: dir, Root: filepath.Join(dir, "buckets"), port: freePort(t)}
	for _, d := range []string{s.Root, filepath.Join(dir, "iam")} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.run(t); err != nil {
		t.Fatalf("starting the S3 server: %v", err)
	}
	return s
}

func (s *S3) run(t TB) (err error) {
	s.process, err = start(spec{
		dir: s.dir, signal: "KILL",
		args: []string{tool(t, "servers", "versitygw"), "--port", local(s.port), "--access", s3Access, "--secret", s3Secret,
			"--region", s3Region, "--iam-dir", filepath.Join(s.dir, "iam"), "--keep-alive", "--quiet", "posix", s.Root},
		ready: answers(local(s.port)),
	})
	return err
}

// Bucket returns a new, empty bucket.
func (s *S3) Bucket(t TB) Bucket {
	t.Helper()
	name := unique(t.Name())
	if err := os.Mkdir(filepath.Join(s.Root, name), 0o755); err != nil {
		t.Fatal(err)
	}
	return Bucket{Endpoint: "http://" + local(s.port), Name: name, Region: s3Region, AccessKey: s3Access, SecretKey: s3Secret}
}

// Stop ends the server the hard way.
func (s *S3) Stop() { s.process.stop(true) }

// Start starts the stopped server again, on the same port and with the same objects.
func (s *S3) Start() {
	s.t.Helper()
	if err := s.run(s.t); err != nil {
		s.t.Fatalf("starting the S3 server again: %v", err)
	}
}

// GCS is a bucket of Google Cloud Storage.
type GCS struct {
	// Endpoint is the server's URL, below which the JSON API is at /storage/v1. It wants no credentials.
	Endpoint, Bucket string
}

type gcsServer struct{ endpoint string }

// NewGCSBucket returns a new, empty bucket on an emulator that all tests of the process share.
func NewGCSBucket(t TB) GCS {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.gcs == nil {
		dir, err := folder(nil)
		if err != nil {
			t.Fatal(err)
		}
		port := freePort(t)
		_, err = start(spec{
			dir: dir, signal: "KILL",
			args: []string{tool(t, "servers", "fake-gcs-server"), "-scheme", "http", "-host", "127.0.0.1",
				"-port", strconv.Itoa(port), "-backend", "memory", "-public-host", local(port),
				"-external-url", "http://" + local(port), "-log-level", "error"},
			ready: answers(local(port)),
		})
		if err != nil {
			t.Fatalf("starting the GCS server: %v", err)
		}
		shared.gcs = &gcsServer{"http://" + local(port)}
	}
	b := GCS{shared.gcs.endpoint, unique(t.Name())}
	body, err := json.Marshal(map[string]string{"name": b.Bucket})
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Post(b.Endpoint+"/storage/v1/b?project=test", "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatalf("making a bucket: %v", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("making a bucket: %s", resp.Status)
	}
	return b
}

// Azure is a container of Azure's blob storage.
type Azure struct {
	// Endpoint is the blob service's URL, the account's name included; Key is the account's key.
	Endpoint, Account, Key, Container string
}

type azureServer struct{ endpoint string }

// The account that the emulator has, by its documentation.
const (
	azureAccount = "devstoreaccount1"
	azureKey     = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)

// NewAzureContainer returns a new, empty container on an emulator that all tests of the process share.
func NewAzureContainer(t TB) Azure {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.azure == nil {
		dir, err := folder(nil)
		if err != nil {
			t.Fatal(err)
		}
		port := freePort(t)
		_, err = start(spec{
			dir: dir, signal: "KILL",
			args: []string{tool(t, "azurite", "bin", "node"), tool(t, "azurite", "node_modules", ".bin", "azurite-blob"),
				"--blobHost", "127.0.0.1", "--blobPort", strconv.Itoa(port), "--location", dir, "--silent",
				"--skipApiVersionCheck", "--disableTelemetry"},
			ready: answers(local(port)),
		})
		if err != nil {
			t.Fatalf("starting the Azure server: %v", err)
		}
		shared.azure = &azureServer{"http://" + local(port) + "/" + azureAccount}
	}
	a := Azure{shared.azure.endpoint, azureAccount, azureKey, unique(t.Name())}
	credential, err := container.NewSharedKeyCredential(a.Account, a.Key)
	if err != nil {
		t.Fatal(err)
	}
	client, err := container.NewClientWithSharedKeyCredential(a.Endpoint+"/"+a.Container, credential, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Create(context.Background(), nil); err != nil {
		t.Fatalf("making a container: %v", err)
	}
	return a
}
