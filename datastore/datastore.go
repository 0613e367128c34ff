// Package datastore keeps artifacts and task records in Metaflow's layout, which the real Metaflow client reads.
//
// A Backend stores objects under slash-separated keys; local disk and memory are implementations, object stores
// others. A Store lays Metaflow's scheme over a Backend: content-addressed blobs, one index of artifacts per attempt,
// markers and logs. The package imports nothing of this module but diag and knows neither flows' graphs nor metadata.
package datastore

import (
	"context"
	"errors"
	"io"
	"iter"
	"time"
)

// The errors that callers tell apart with errors.Is.
var (
	// ErrNotFound: no object under that key.
	ErrNotFound = errors.New("not found")
	// ErrCorrupt: stored bytes do not match their digest or their packing.
	ErrCorrupt = errors.New("corrupt")
	// ErrNewer: written in a format that this version does not know.
	ErrNewer = errors.New("written by a newer version")
)

// Entry is one object, or one folder where a listing is not recursive.
type Entry struct {
	Key      string
	Size     int64
	Modified time.Time
	// Dir is set for a folder; Key then has no trailing slash.
	Dir bool
}

// PutOptions change how an object is written.
type PutOptions struct {
	// IfAbsent leaves an existing object as it is and reports no error.
	IfAbsent bool
	// Meta is the object's user metadata, JSON text; nil for none. Local disk keeps it in a sibling file "<key>_meta".
	Meta []byte
}

// Backend stores objects. Implementations are safe for concurrent use, by several processes too; Put is atomic: a
// reader sees the old object, the new one or none, never a part.
type Backend interface {
	// Type is Metaflow's name for the kind of store: "local", "s3", "gs" or "azure".
	Type() string
	// Root is the root as Metaflow writes it into metadata: for local disk an absolute path ending in "/.metaflow".
	Root() string
	// Put writes an object. Writing the same key twice is allowed; the last one wins.
	Put(ctx context.Context, key string, body io.Reader, opt PutOptions) error
	// Get opens an object; ErrNotFound if absent. meta is nil if the object has none. A body that is in memory as a whole
	// may have a method Bytes() []byte, which returns what is left to read, for the caller to keep.
	Get(ctx context.Context, key string) (body io.ReadCloser, meta []byte, err error)
	// Exists reports whether there is an object under key.
	Exists(ctx context.Context, key string) (bool, error)
	// List yields the entries directly below the folder prefix, in name order, without user metadata objects. An
	// absent folder yields nothing.
	List(ctx context.Context, prefix string) iter.Seq2[Entry, error]
}

// Appender is a Backend that can grow an object, which lets logs be followed while they are written.
type Appender interface {
	// Append opens an object for appending, creating it when absent.
	Append(ctx context.Context, key string) (io.WriteCloser, error)
}

// Remover is a Backend that can delete, which collecting unreachable blobs needs.
type Remover interface {
	// Remove deletes an object and its user metadata. An absent key is no error.
	Remove(ctx context.Context, key string) error
}

// Linker is a Backend that can take over an object of another one without copying its bytes.
type Linker interface {
	// LinkFrom makes key name the same object as in from. It reports false, and changes nothing, where that cannot be
	// done, for instance because from is not on the same disk; the caller then copies.
	LinkFrom(ctx context.Context, from Backend, key string) (bool, error)
}

// Copier is a Backend that can give an object a second key without copying its bytes.
type Copier interface {
	// Copy makes the key to name what from names. It reports false, and changes nothing, where that cannot be done; the
	// caller then writes the object anew.
	Copy(ctx context.Context, from, to string) (bool, error)
}

// OncePutter is a Backend that writes an object in one request, which is cheaper than asking first whether it is there.
type OncePutter interface {
	// PutOnce writes an object whose key stands for its bytes, such as a blob: one that is there already may be kept or
	// be written again. body is small, at most some hundred KiB, and is not kept.
	PutOnce(ctx context.Context, key string, body, meta []byte) error
}

// MetaSplitter is a Backend that may keep user metadata apart from the object, as a file more, say.
type MetaSplitter interface {
	// SplitsMeta reports whether an object with user metadata costs about as much as two without. A Store then leaves out
	// what readers assume where there is none: that a blob is packed with gzip.
	SplitsMeta() bool
}

// TaskRef names a task. The zero Attempt is the first.
type TaskRef struct {
	Flow, Run, Step, Task string
}

// String returns the pathspec "Flow/run/step/task".
func (t TaskRef) String() string { return t.Flow + "/" + t.Run + "/" + t.Step + "/" + t.Task }

// Artifact is an entry of a task's artifact index.
type Artifact struct {
	// Digest is the lower-case hex SHA-1 of the serialized, uncompressed bytes.
	Digest string
	// Size is the length of the serialized, uncompressed bytes.
	Size int64
	// Type is the value's type as Python prints it: "<class 'int'>".
	Type string
	// Encoding is the serialization: "pickle-v4"; readers also meet "pickle-v2", "gzip+pickle-v2" and "gzip+pickle-v4".
	Encoding string
}

// Record is the outcome of one attempt of a task: its artifact index.
type Record struct {
	Attempt int
	// PythonVersion is Python's sys.version; empty for a command step.
	PythonVersion string
	Artifacts     map[string]Artifact
}

// MaxAttempts is the number of attempts that readers of the format look for: 0 to 5.
const MaxAttempts = 6

// Stream is one of a task's two output streams.
type Stream string

// The streams.
const (
	Stdout Stream = "stdout"
	Stderr Stream = "stderr"
)
