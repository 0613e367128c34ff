package metaflowdir

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// fdFolder works by a descriptor of the folder, which saves the system the way to it for each of a task's thirty files.
type fdFolder struct {
	fd   int
	path string
}

// openFolder returns a handle of an existing folder; fs.ErrNotExist if absent.
func openFolder(path string) (folder, error) {
	fd, err := ignoringEINTR(func() (int, error) {
		return unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return &fdFolder{fd, path}, nil
}

// ignoringEINTR repeats a call that a signal interrupted.
func ignoringEINTR(f func() (int, error)) (int, error) {
	for {
		n, err := f()
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}

func (f *fdFolder) wrap(op, name string, err error) error {
	return &fs.PathError{Op: op, Path: f.path + "/" + name, Err: err}
}

func (f *fdFolder) write(temp string, content []byte) error {
	fd, err := ignoringEINTR(func() (int, error) {
		return unix.Openat(f.fd, temp, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o644)
	})
	if err != nil {
		return f.wrap("open", temp, err)
	}
	for err == nil && len(content) > 0 {
		var n int
		n, err = ignoringEINTR(func() (int, error) { return unix.Write(fd, content) })
		content = content[max(n, 0):]
	}
	if closeErr := unix.Close(fd); err == nil {
		err = closeErr
	}
	if err != nil {
		return errors.Join(f.wrap("write", temp, err), f.remove(temp))
	}
	return nil
}

func (f *fdFolder) remove(name string) error {
	if err := unix.Unlinkat(f.fd, name, 0); err != nil {
		return f.wrap("remove", name, err)
	}
	return nil
}

func (f *fdFolder) place(temp string, content []byte, names func(int) string) error {
	if err := f.write(temp, content); err != nil {
		return err
	}
	for try := 0; ; try++ {
		name := names(try)
		if name == "" {
			return errors.Join(fs.ErrExist, f.remove(temp))
		}
		err := unix.Renameat2(f.fd, temp, f.fd, name, unix.RENAME_NOREPLACE)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, unix.EEXIST):
		case errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS):
			// A file system that cannot do it, such as NFS.
			by := pathFolder(f.path)
			return errors.Join(by.link(temp, names), by.remove(temp))
		default:
			return errors.Join(f.wrap("rename", name, err), f.remove(temp))
		}
	}
}

func (f *fdFolder) replace(temp, name string, content []byte) error {
	if err := f.write(temp, content); err != nil {
		return err
	}
	if err := unix.Renameat(f.fd, temp, f.fd, name); err != nil {
		return errors.Join(f.wrap("rename", name, err), f.remove(temp))
	}
	return nil
}

func (f *fdFolder) close() error {
	if err := unix.Close(f.fd); err != nil {
		return os.NewSyscallError("close", err)
	}
	return nil
}
