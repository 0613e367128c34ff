package local

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"strconv"

	"github.com/mf-run/mf/datastore"
)

// Put implements datastore.Backend.
func (b *Backend) Put(ctx context.Context, key string, body io.Reader, opt datastore.PutOptions) error {
	if err := datastore.CheckKey(key); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	// A folder that vanished is made again and the write repeated, for which a body that was read must go back to its
	// start.
	consumed := false
	err := b.dirs.do(path.Dir(key), true, func(dir *os.Root) error {
		if consumed {
			seeker, ok := body.(io.Seeker)
			if !ok {
				return errors.New("the folder was deleted while the object was written")
			}
			if _, err := seeker.Seek(0, io.SeekStart); err != nil {
				return err
			}
		}
		name := path.Base(key)
		if opt.IfAbsent {
			if info, err := dir.Stat(name); err == nil && info.Mode().IsRegular() {
				return nil
			}
		}
		if opt.Meta != nil {
			if err := write(ctx, dir, name+"_meta", bytes.NewReader(opt.Meta), opt.IfAbsent, nil); err != nil {
				return err
			}
		}
		if err := write(ctx, dir, name, body, opt.IfAbsent, &consumed); err != nil {
			return err
		}
		if opt.Meta == nil && !opt.IfAbsent {
			// An older object's metadata would now be read with the new bytes. Looking costs less than removing in vain.
			if _, err := dir.Lstat(name + "_meta"); isAbsent(err) {
				return nil
			}
			if err := dir.Remove(name + "_meta"); err != nil && !isAbsent(err) {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return b.explain("writing", key, err)
	}
	return nil
}

// write puts body into a temporary file and gives it its name. With ifAbsent an existing file of that name stays.
// consumed, if not nil, is set before the first byte of body is read.
func write(ctx context.Context, dir *os.Root, name string, body io.Reader, ifAbsent bool, consumed *bool) (err error) {
	f, tmp, err := createTemp(dir)
	if err != nil {
		return err
	}
	renamed := false
	defer func() {
		if !renamed {
			_ = dir.Remove(tmp)
		}
	}()
	if consumed != nil {
		*consumed = true
	}
	if err := fill(ctx, f, body); err != nil {
		f.Close()
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if ifAbsent {
		err = dir.Link(tmp, name)
		switch {
		case err == nil || errors.Is(err, fs.ErrExist):
			return nil
		case !linkUnsupported(err):
			return err
		}
		// Without hard links two writers at the same moment both win, one after the other.
		if _, err := dir.Lstat(name); err == nil {
			return nil
		}
	}
	if err := dir.Rename(tmp, name); err != nil {
		return err
	}
	renamed = true
	return nil
}

// createTemp makes an empty file with a name that no key can have.
func createTemp(dir *os.Root) (*os.File, string, error) {
	for {
		var buf [len(datastore.TempPrefix) + 13]byte
		name := string(strconv.AppendUint(append(buf[:0], datastore.TempPrefix...), rand.Uint64(), 36))
		f, err := dir.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL|plainOpen, fileMode)
		if !errors.Is(err, fs.ErrExist) {
			return f, name, err
		}
	}
}

// copyChunk is the size of the pieces of a large body, between which a cancelled context is noticed.
const copyChunk = 1 << 20

// fill copies body to f. Bodies that are in memory already go in one piece.
func fill(ctx context.Context, f *os.File, body io.Reader) error {
	if w, ok := body.(interface {
		io.WriterTo
		Len() int
	}); ok && w.Len() <= copyChunk {
		_, err := w.WriteTo(f)
		return err
	}
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		_, err := io.CopyN(f, body, copyChunk)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
