package runtime

import (
	"context"
	"fmt"
	"math/big"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/datastore/pickle"
	"github.com/mf-run/mf/ir"
	"github.com/mf-run/mf/metadata"
)

// encoding is the serialization of all that is written here.
const encoding = "pickle-v4"

// memo remembers the artifacts of small values that nearly every task has.
type memo struct {
	mu    sync.Mutex
	known map[any]datastore.Artifact
}

// The most that memo keeps: values, and bytes of a text.
const (
	maxMemo     = 4096
	maxMemoText = 256
)

// takes reports whether a value is one to remember.
func (m *memo) takes(v any) bool {
	switch v := v.(type) {
	case nil, bool, int64:
		return true
	case string:
		return len(v) <= maxMemoText
	}
	return false
}

func (m *memo) get(v any) (datastore.Artifact, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	art, ok := m.known[v]
	return art, ok
}

func (m *memo) add(v any, art datastore.Artifact) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.known == nil {
		m.known = map[any]datastore.Artifact{}
	}
	if len(m.known) < maxMemo {
		m.known[v] = art
	}
}

// saveValue pickles and stores plain data.
func (r *Run) saveValue(ctx context.Context, v any, typ string) (datastore.Artifact, error) {
	remember := r.memo.takes(v)
	if remember {
		if art, ok := r.memo.get(v); ok {
			return art, nil
		}
	}
	data, err := pickle.Marshal(v)
	if err != nil {
		return datastore.Artifact{}, err
	}
	digest, err := r.Store.SaveBytes(ctx, r.Flow.Name, data)
	if err != nil {
		return datastore.Artifact{}, err
	}
	art := datastore.Artifact{Digest: digest, Size: int64(len(data)), Type: typ, Encoding: encoding}
	if remember {
		r.memo.add(v, art)
	}
	return art, nil
}

// inFlight bounds the requests to the datastore that one task makes at a time for small objects.
const inFlight = 16

// saveAll stores values side by side and notes each under its name; of two of one name the later counts.
func (r *Run) saveAll(ctx context.Context, values []ownValue, into map[string]datastore.Artifact) error {
	arts := make([]datastore.Artifact, len(values))
	var g errgroup.Group
	g.SetLimit(inFlight)
	for n, own := range values {
		g.Go(func() (err error) {
			arts[n], err = r.saveValue(ctx, own.value, own.typ)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for n, own := range values {
		into[own.name] = arts[n]
	}
	return nil
}

// loadValue reads plain data. The error names the class of what is not plain data.
func (r *Run) loadValue(ctx context.Context, name string, art datastore.Artifact) (any, error) {
	data, err := r.load(ctx, art.Digest)
	if err != nil {
		return nil, fmt.Errorf("reading artifact %s: %w", name, err)
	}
	v, err := pickle.Unmarshal(data)
	if err != nil {
		return nil, fmt.Errorf("reading artifact %s: %w", name, err)
	}
	return v, nil
}

// load returns a blob, from memory where it is small and was asked for before.
func (r *Run) load(ctx context.Context, digest string) ([]byte, error) {
	if data, ok := r.blobs.get(digest); ok {
		return data, nil
	}
	data, err := r.Store.Load(ctx, r.Flow.Name, digest)
	if err == nil {
		r.blobs.add(digest, data)
	}
	return data, err
}

// blobCache keeps small blobs that many tasks read, such as the list of a foreach.
type blobCache struct {
	mu    sync.Mutex
	blobs map[string][]byte
	size  int
}

const (
	maxCachedBlob = 1 << 20
	maxCache      = 16 << 20
)

func (c *blobCache) get(digest string) ([]byte, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	data, ok := c.blobs[digest]
	return data, ok
}

func (c *blobCache) add(digest string, data []byte) {
	if len(data) > maxCachedBlob {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.blobs == nil || c.size+len(data) > maxCache {
		// Starting over is as good as an order of eviction here: what is still needed comes back at once.
		c.blobs, c.size = map[string][]byte{}, 0
	}
	if _, ok := c.blobs[digest]; !ok {
		c.blobs[digest] = data
		c.size += len(data)
	}
}

// stackValue is the _foreach_stack artifact.
func stackValue(stack []Frame) []any {
	frames := make([]any, len(stack))
	for i, f := range stack {
		frame := pickle.ForeachFrame{Step: f.Step, Var: f.Var, NumSplits: int64(f.NumSplits), Index: int64(f.Index)}
		if f.HasValue {
			frame.Value = f.Value
		}
		frames[i] = frame
	}
	return frames
}

// record is the failure as the format keeps it.
func (f *Failure) record() pickle.ExceptionWrapper {
	typ := f.Type
	if typ == "" {
		typ = "mf.StepFailed"
	}
	rec := pickle.ExceptionWrapper{Exception: f.Message, Type: typ}
	if f.Traceback != "" {
		rec.Stacktrace = f.Traceback
	}
	return rec
}

// ForeachFrames is a foreach stack as metadata keeps it.
func ForeachFrames(stack []Frame) []metadata.ForeachFrame {
	frames := make([]metadata.ForeachFrame, len(stack))
	for i, f := range stack {
		frames[i] = metadata.ForeachFrame{Step: f.Step, Var: f.Var, Index: f.Index, Value: f.Value}
	}
	return frames
}

// ArtifactRefs is an index of artifacts as metadata keeps it.
func ArtifactRefs(arts map[string]datastore.Artifact) map[string]metadata.ArtifactRef {
	refs := make(map[string]metadata.ArtifactRef, len(arts))
	for name, a := range arts {
		refs[name] = metadata.ArtifactRef{Sha: a.Digest, ContentType: a.Encoding}
	}
	return refs
}

// plainValue turns an ordered map of the IR into what pickles as a dict of that order.
func plainValue(v any) any {
	switch v := v.(type) {
	case ir.Ordered:
		d := make(pickle.Dict, len(v))
		for i, kv := range v {
			d[i] = pickle.Item{Key: kv.Key, Value: plainValue(kv.Value)}
		}
		return d
	case []any:
		list := make([]any, len(v))
		for i := range v {
			list[i] = plainValue(v[i])
		}
		return list
	}
	return v
}

// kindOf names the kind of a value in the words of the YAML language.
func kindOf(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case bool:
		return "a bool"
	case string:
		return "a string"
	case []byte:
		return "bytes"
	case int64, *big.Int, float64:
		return "a number"
	case map[string]any, pickle.Dict:
		return "a map"
	}
	return pickle.TypeName(v)
}
