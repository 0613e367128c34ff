package codepackage

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/gzip"
)

// ErrUnsound: an archive is damaged, or holds what no code package holds: a path out of its folder, a link, a device,
// the same name twice, or too much.
var ErrUnsound = errors.New("not a sound code package")

const (
	// maxUnpacked bounds the files of an archive, in bytes.
	maxUnpacked = MaxSize + maxExtras
	// maxStream bounds an archive before compression: the files with what the format takes around each.
	maxStream = maxUnpacked + MaxFiles*4096
	// maxEntries bounds the files and folders of an archive, of which the layout's own are few.
	maxEntries = MaxFiles + 1000
	// maxPath and maxDepth bound a member's path, in bytes and in names.
	maxPath, maxDepth = 4096, 256
)

// Extract unpacks an archive into a folder, which is made if need be, and reads r to its end. Nothing outside the folder
// is ever written, and no file in it is written twice, or over one that was there. Members become plain files; of their
// permissions only the executable bit counts. What an archive that is ErrUnsound has left behind in the folder is not to
// be used; an error of r comes back as it is.
func Extract(ctx context.Context, r io.Reader, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("unpacking the code package: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("unpacking the code package: %w", err)
	}
	defer root.Close()
	err = members(ctx, r, func(m member, body io.Reader) error { return unpack(root, m, body) })
	if err != nil {
		return fmt.Errorf("unpacking the code package: %w", err)
	}
	return nil
}

// member is a file or folder of an archive, whose path has been checked.
type member struct {
	File
	dir bool
}

// members calls visit for the files and folders of an archive, and reads r to its end.
func members(ctx context.Context, r io.Reader, visit func(m member, body io.Reader) error) error {
	source := &sourceReader{r: &ctxReader{ctx, r}}
	zip, err := gzip.NewReader(source)
	if err != nil {
		return source.explain("it is not compressed with gzip", err)
	}
	defer zip.Close()
	stream := &limitReader{r: zip, left: maxStream}
	archive := tar.NewReader(stream)
	var size int64
	for entries := 1; ; entries++ {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return source.explain("it is damaged", err)
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			continue // a comment
		}
		m, err := checkMember(h)
		if err != nil {
			return err
		}
		if size += m.Size; size > maxUnpacked || size < 0 {
			return fmt.Errorf("%w: it unpacks to more than %d MiB", ErrUnsound, maxUnpacked>>20)
		}
		if entries > maxEntries {
			return fmt.Errorf("%w: it holds more than %d files", ErrUnsound, maxEntries)
		}
		body := &sourceReader{r: archive}
		if err := visit(m, body); err != nil {
			if body.err != nil {
				return source.explain("it is damaged", body.err)
			}
			return err
		}
	}
	if _, err := io.Copy(io.Discard, stream); err != nil {
		return source.explain("it is damaged", err)
	}
	if _, err := io.Copy(io.Discard, source); err != nil {
		return err
	}
	return nil
}

// checkMember refuses what no code package holds.
func checkMember(h *tar.Header) (member, error) {
	name := h.Name
	for strings.HasPrefix(name, "./") {
		name = name[2:]
	}
	m := member{File: File{Path: name, Size: h.Size, Executable: h.Mode&0o111 != 0}}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeGNUSparse:
	case tar.TypeDir:
		m.Path, m.Size, m.dir = strings.TrimSuffix(name, "/"), 0, true
		if m.Path == "" {
			m.Path = "."
		}
	case tar.TypeSymlink, tar.TypeLink:
		return m, fmt.Errorf("%w: %s is a link, to %s", ErrUnsound, quote(h.Name), quote(h.Linkname))
	default:
		return m, fmt.Errorf("%w: %s is neither a file nor a folder, but of type %q", ErrUnsound, quote(h.Name), h.Typeflag)
	}
	switch {
	case !fs.ValidPath(m.Path) || strings.ContainsRune(m.Path, 0) || m.Path == "." && !m.dir:
		return m, fmt.Errorf("%w: %s is not a path within its folder", ErrUnsound, quote(h.Name))
	case len(m.Path) > maxPath || strings.Count(m.Path, "/") >= maxDepth:
		return m, fmt.Errorf("%w: %s is too long a path", ErrUnsound, quote(h.Name))
	}
	return m, nil
}

// quote shows a name that may be anything.
func quote(name string) string {
	const most = 100
	if len(name) > most {
		return fmt.Sprintf("%q…", name[:most])
	}
	return fmt.Sprintf("%q", name)
}

// unpack writes one member.
func unpack(root *os.Root, m member, body io.Reader) error {
	name, err := filepath.Localize(m.Path)
	if err != nil {
		return fmt.Errorf("%w: %s is no file name on this system", ErrUnsound, quote(m.Path))
	}
	parent := name
	if !m.dir {
		parent = filepath.Dir(name)
	}
	if err := root.MkdirAll(parent, 0o755); err != nil {
		return clash(m, err)
	}
	if m.dir {
		return nil
	}
	perm := fs.FileMode(0o644)
	if m.Executable {
		perm = 0o755
	}
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
	if err != nil {
		return clash(m, err)
	}
	_, err = io.Copy(f, body)
	return errors.Join(err, f.Close())
}

// clash explains why a file or folder cannot be made.
func clash(m member, err error) error {
	var pathErr *fs.PathError
	if errors.Is(err, fs.ErrExist) || errors.As(err, &pathErr) && isNotDir(pathErr.Err) {
		return fmt.Errorf("%w: %s is there already, in it twice or, where letter case does not count, as good as twice: %w", ErrUnsound, quote(m.Path), err)
	}
	return err
}

// limitReader is an error at its end.
type limitReader struct {
	r    io.Reader
	left int64
}

// errLimit: an archive is longer than any code package.
var errLimit = fmt.Errorf("it unpacks to more than %d MiB", maxStream>>20)

// Read implements io.Reader.
func (l *limitReader) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, errLimit
	}
	n, err := l.r.Read(p[:min(int64(len(p)), l.left)])
	l.left -= int64(n)
	return n, err
}

// sourceReader remembers an error of reading, to tell it from an error in what was read.
type sourceReader struct {
	r   io.Reader
	err error
}

// Read implements io.Reader.
func (s *sourceReader) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}

// explain returns the error of the source if it had one; otherwise the archive is at fault.
func (s *sourceReader) explain(what string, err error) error {
	switch {
	case s.err != nil:
		return s.err
	case errors.Is(err, errLimit):
		return fmt.Errorf("%w: %w", ErrUnsound, err)
	}
	return fmt.Errorf("%w: %s: %w", ErrUnsound, what, err)
}
