package runtime

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"

	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/datastore/pickle"
)

// saveLarge stores a file of size bytes, as bytes or as a text, without holding it in memory.
func (r *Run) saveLarge(ctx context.Context, path string, size int64, text bool) (datastore.Artifact, error) {
	f, err := os.Open(path)
	if err != nil {
		return datastore.Artifact{}, err
	}
	defer f.Close()
	art := datastore.Artifact{Type: pickle.TypeName([]byte(nil)), Encoding: encoding}
	if text {
		art.Type = pickle.TypeName("")
		if err := pickle.CheckText(io.NewSectionReader(f, 0, size)); err != nil {
			return art, err
		}
	}
	before, after := pickle.Large(size, text)
	art.Digest, art.Size, err = r.Store.SaveReader(ctx, r.Flow.Name, func() io.Reader {
		return io.MultiReader(bytes.NewReader(before), io.NewSectionReader(f, 0, size), bytes.NewReader(after))
	})
	if err != nil {
		return art, err
	}
	if art.Size != int64(len(before))+size+int64(len(after)) {
		err = errors.New("the file was changed while it was stored")
	}
	return art, err
}
