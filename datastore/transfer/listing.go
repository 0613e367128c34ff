package transfer

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/mf-run/mf/datastore"
)

// List yields what pages gives, in name order and once each. Object stores sort a folder by its name with the slash and
// may name it in several pages, so all pages are read before the first entry. Reserved names are left out, as on disk.
func List(ctx context.Context, prefix string, pages func(ctx context.Context, folder string, add func(datastore.Entry)) error) iter.Seq2[datastore.Entry, error] {
	return func(yield func(datastore.Entry, error) bool) {
		if err := datastore.CheckPrefix(prefix); err != nil {
			yield(datastore.Entry{}, err)
			return
		}
		folder := prefix
		if folder != "" {
			folder += "/"
		}
		var entries []datastore.Entry
		err := pages(ctx, folder, func(e datastore.Entry) {
			if visible(folder, e) {
				entries = append(entries, e)
			}
		})
		if err != nil {
			yield(datastore.Entry{}, err)
			return
		}
		slices.SortFunc(entries, func(x, y datastore.Entry) int {
			return cmp.Or(strings.Compare(x.Key, y.Key), compareBool(x.Dir, y.Dir))
		})
		entries = slices.CompactFunc(entries, func(x, y datastore.Entry) bool { return x.Key == y.Key && x.Dir == y.Dir })
		for _, e := range entries {
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

func compareBool(x, y bool) int {
	switch {
	case x == y:
		return 0
	case y:
		return -1
	}
	return 1
}

// visible reports whether a listing shows an entry: not the mark of a folder, which some tools write as an object that
// ends in a slash, and nothing whose key no Put takes.
func visible(folder string, e datastore.Entry) bool {
	name, ok := strings.CutPrefix(e.Key, folder)
	if !ok || name == "" {
		return false
	}
	if e.Dir {
		return name != "_meta" && datastore.CheckPrefix(e.Key) == nil
	}
	return datastore.CheckKey(e.Key) == nil
}

// HeaderJSON writes user metadata, JSON text, as the value of a header: in ASCII, the rest escaped as JSON has it, which
// is what Python's json.dumps writes too. Spaces that a server might fold or trim are escaped as well. Text that needs
// none of this stays as it is.
func HeaderJSON(meta []byte) (string, error) {
	if !json.Valid(meta) || !utf8.Valid(meta) {
		return "", fmt.Errorf("the user metadata %.80q is not JSON", meta)
	}
	var b strings.Builder
	inString, escaped := false, false
	for _, r := range string(meta) {
		switch {
		case !inString && (r == ' ' || r == '\t' || r == '\n' || r == '\r'):
			if b.Len() > 0 && !strings.HasSuffix(b.String(), " ") {
				b.WriteByte(' ')
			}
			continue
		case r > 0xFFFF:
			r -= 0x10000
			fmt.Fprintf(&b, `\u%04x\u%04x`, 0xD800+r>>10, 0xDC00+r&0x3FF)
		case r >= 0x7F:
			fmt.Fprintf(&b, `\u%04x`, r)
		case r == ' ' && strings.HasSuffix(b.String(), " "):
			b.WriteString(`\u0020`)
		default:
			b.WriteRune(r)
		}
		switch {
		case escaped:
			escaped = false
		case inString && r == '\\':
			escaped = true
		case r == '"':
			inString = !inString
		}
	}
	return strings.TrimSuffix(b.String(), " "), nil
}
