package datastore

import (
	"fmt"
	"strings"
)

// TempPrefix starts the name of a file that a backend on disk is still writing. No key may use it.
const TempPrefix = ".tmp-"

// metaSuffix ends the name of the file that holds an object's user metadata on local disk.
const metaSuffix = "_meta"

// maxNameLen is the longest file name that common file systems take, in bytes, with room for metaSuffix.
const maxNameLen = 255 - len(metaSuffix)

// CheckKey says what is wrong with the key of an object, or returns nil. A key is a relative path of one or more names
// joined by "/". A name is not empty, ".", ".." or longer than 250 bytes, and holds no NUL or backslash. The last one
// neither starts with TempPrefix nor ends in "_meta", which belongs to user metadata.
func CheckKey(key string) error {
	if err := CheckPrefix(key); err != nil {
		return err
	}
	last := key[strings.LastIndexByte(key, '/')+1:]
	switch {
	case last == "":
		return fmt.Errorf("invalid key %q: it is empty", key)
	case strings.HasSuffix(last, metaSuffix):
		return fmt.Errorf("invalid key %q: names that end in %q are kept for user metadata", key, metaSuffix)
	case strings.HasPrefix(last, TempPrefix):
		return fmt.Errorf("invalid key %q: names that start with %q are kept for files being written", key, TempPrefix)
	}
	return nil
}

// CheckPrefix is CheckKey for a folder: it may be empty, which is the root, and has no reserved names.
func CheckPrefix(prefix string) error {
	if prefix == "" {
		return nil
	}
	for rest, more := prefix, true; more; {
		var name string
		name, rest, more = strings.Cut(rest, "/")
		switch {
		case name == "" || name == "." || name == "..":
			return fmt.Errorf("invalid key %q: it must be a relative path without empty, \".\" or \"..\" parts", prefix)
		case len(name) > maxNameLen:
			return fmt.Errorf("invalid key: the name %.40q… has %d bytes, at most %d are allowed", name, len(name), maxNameLen)
		case strings.ContainsAny(name, "\x00\\"):
			return fmt.Errorf("invalid key %q: it must not hold NUL or backslash", prefix)
		}
	}
	return nil
}
