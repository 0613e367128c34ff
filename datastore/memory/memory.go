// Package memory keeps a datastore in memory, for tests and for dry runs.
package memory

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mf-run/mf/datastore"
)

// Backend is a datastore.Backend in memory. It also appends and removes. The zero value is not usable; call New.
type Backend struct {
	now func() time.Time

	mu      sync.RWMutex
	objects map[string]object
}

// object is immutable but for appending, which only writes beyond the length that readers hold.
type object struct {
	data     []byte
	meta     []byte
	modified time.Time
}

var (
	_ datastore.Backend  = (*Backend)(nil)
	_ datastore.Appender = (*Backend)(nil)
	_ datastore.Remover  = (*Backend)(nil)
)

// New returns an empty backend. now stamps objects; nil leaves Entry.Modified zero.
func New(now func() time.Time) *Backend {
	if now == nil {
		now = func() time.Time { return time.Time{} }
	}
	return &Backend{now: now, objects: map[string]object{}}
}

// Type returns "memory".
func (b *Backend) Type() string { return "memory" }

// Root returns "/memory".
func (b *Backend) Root() string { return "/memory" }

// Put implements datastore.Backend.
func (b *Backend) Put(ctx context.Context, key string, body io.Reader, opt datastore.PutOptions) error {
	if err := datastore.CheckKey(key); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("writing %s: %w", key, err)
	}
	data, err := io.ReadAll(body)
	if err == nil {
		err = ctx.Err() // cancelled meanwhile
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", key, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.objects[key]; ok && opt.IfAbsent {
		return nil
	}
	b.objects[key] = object{data: data, meta: bytes.Clone(opt.Meta), modified: b.now()}
	return nil
}

// Get implements datastore.Backend.
func (b *Backend) Get(_ context.Context, key string) (io.ReadCloser, []byte, error) {
	if err := datastore.CheckKey(key); err != nil {
		return nil, nil, err
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	o, ok := b.objects[key]
	if !ok {
		return nil, nil, fmt.Errorf("reading %s: %w", key, datastore.ErrNotFound)
	}
	return io.NopCloser(bytes.NewReader(o.data)), bytes.Clone(o.meta), nil
}

// Exists implements datastore.Backend.
func (b *Backend) Exists(_ context.Context, key string) (bool, error) {
	if err := datastore.CheckKey(key); err != nil {
		return false, err
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	_, ok := b.objects[key]
	return ok, nil
}

// List implements datastore.Backend. Folders named "_meta" are left out, as on local disk.
func (b *Backend) List(ctx context.Context, prefix string) iter.Seq2[datastore.Entry, error] {
	return func(yield func(datastore.Entry, error) bool) {
		if err := datastore.CheckPrefix(prefix); err != nil {
			yield(datastore.Entry{}, err)
			return
		}
		for _, e := range b.below(prefix) {
			if err := ctx.Err(); err != nil {
				yield(datastore.Entry{}, err)
				return
			}
			if !yield(e, nil) {
				return
			}
		}
	}
}

// below returns the sorted entries of a folder.
func (b *Backend) below(prefix string) []datastore.Entry {
	if prefix != "" {
		prefix += "/"
	}
	found := map[string]datastore.Entry{}
	b.mu.RLock()
	for key, o := range b.objects {
		rest, ok := strings.CutPrefix(key, prefix)
		if !ok {
			continue
		}
		name, _, dir := strings.Cut(rest, "/")
		switch {
		case dir && name == "_meta":
		case dir:
			found[name] = datastore.Entry{Key: prefix + name, Dir: true}
		default:
			found[name] = datastore.Entry{Key: key, Size: int64(len(o.data)), Modified: o.modified}
		}
	}
	b.mu.RUnlock()
	entries := make([]datastore.Entry, 0, len(found))
	for _, e := range found {
		entries = append(entries, e)
	}
	slices.SortFunc(entries, func(x, y datastore.Entry) int { return strings.Compare(x.Key, y.Key) })
	return entries
}

// Remove implements datastore.Remover.
func (b *Backend) Remove(_ context.Context, key string) error {
	if err := datastore.CheckKey(key); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.objects, key)
	return nil
}

// Append implements datastore.Appender.
func (b *Backend) Append(_ context.Context, key string) (io.WriteCloser, error) {
	if err := datastore.CheckKey(key); err != nil {
		return nil, err
	}
	a := appender{b: b, key: key}
	_, err := a.Write(nil) // the object is there from now on
	return a, err
}

type appender struct {
	b   *Backend
	key string
}

func (a appender) Write(p []byte) (int, error) {
	a.b.mu.Lock()
	defer a.b.mu.Unlock()
	o := a.b.objects[a.key]
	o.data = append(o.data, p...)
	o.modified = a.b.now()
	a.b.objects[a.key] = o
	return len(p), nil
}

func (a appender) Close() error { return nil }
