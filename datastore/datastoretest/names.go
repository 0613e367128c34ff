package datastoretest

import (
	"encoding/json"
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/mf-run/mf/datastore"
)

// onDisk reports whether a folder and an object cannot have one name, and whether the names are those of a file system.
// The backend of an object store whose test server keeps its objects as files has a method OnDisk that says so.
func onDisk(b datastore.Backend) bool {
	d, ok := b.(interface{ OnDisk() bool })
	return b.Type() == "local" || ok && d.OnDisk()
}

// awkward are names that a URL, an XML listing or a header can garble.
func awkward(b datastore.Backend) []string {
	names := []string{
		"a b", "a+b", "a%20b", "a%2Fb", "100%", "a#b", "a&b=c", "a;b", "a,b", "a@b$c!", "(a)[b]{c}", "'a'", "~a^b`",
		"Ünïcode", "e\u0301", "☃", "日本語", "😀", "a=b", "naïve.json", "-a", "a.", strings.Repeat("n", 250),
	}
	if runtime.GOOS != "windows" || !onDisk(b) {
		names = append(names, "a?b", "a:b", `a"b`, "<a>", "a|b", "a*b")
	}
	slices.Sort(names)
	return names
}

func testAwkwardNames(t *testing.T, b datastore.Backend) {
	names := awkward(b)
	for _, folder := range []string{"objects", "a b/ü%2F+?#x"} {
		if onDisk(b) && runtime.GOOS == "windows" {
			folder = strings.ReplaceAll(folder, "?", "")
		}
		var expect []string
		for _, name := range names {
			key := folder + "/" + name
			put(t, b, key, key, datastore.PutOptions{Meta: []byte(`{"a": 1}`)})
			expect = append(expect, key)
		}
		for _, key := range expect {
			want(t, b, key, key, `{"a": 1}`)
			if ok, err := b.Exists(t.Context(), key); err != nil || !ok {
				t.Errorf("Exists(%q) = %v, %v", key, ok, err)
			}
		}
		if got := keys(t, b, folder); !slices.Equal(got, expect) {
			t.Errorf("List(%q) = %q, want %q", folder, got, expect)
		}
	}
	if r, ok := b.(datastore.Remover); ok {
		for _, name := range names {
			if err := r.Remove(t.Context(), "objects/"+name); err != nil {
				t.Errorf("Remove(%q): %v", name, err)
			}
		}
		if got := keys(t, b, "objects"); got != nil {
			t.Errorf("after removing all, %q are left", got)
		}
	}
	for _, name := range names { // as folders
		put(t, b, "folders/"+name+"/x", name, datastore.PutOptions{})
		want(t, b, "folders/"+name+"/x", name, "")
		if got, expect := keys(t, b, "folders/"+name), []string{"folders/" + name + "/x"}; !slices.Equal(got, expect) {
			t.Errorf("List(%q) = %q, want %q", "folders/"+name, got, expect)
		}
	}
}

// testUserMetadata holds backends to give back the JSON value; they may write it another way, for instance escaped.
func testUserMetadata(t *testing.T, b datastore.Backend) {
	for i, meta := range []string{
		`{"cas_raw": true, "cas_version": 1}`,
		`{}`,
		`{"quoted": "a \"b\" c", "slash": "a\\b", "line": "a\nb\tc", "empty": ""}`,
		`{"text": "Grüße, 日本語 und 😀", "ключ": ["é", "\u00e9", "\ud83d\ude00"]}`,
		`{"spaces": "  two  ", "symbols": "+%20&=;,#?<>'"}`,
		`{"number": 12345678901234567890, "float": 1e-7}`,
		`{"long": "` + strings.Repeat("x", 1000) + `"}`,
	} {
		key := fmt.Sprintf("meta/%d", i)
		put(t, b, key, "body", datastore.PutOptions{Meta: []byte(meta)})
		body, got := get(t, b, key)
		if body != "body" || !sameJSON(t, got, meta) {
			t.Errorf("body %q with metadata %s, want %s", body, got, meta)
		}
	}
}

func sameJSON(t *testing.T, a, b string) bool {
	t.Helper()
	var values [2]any
	for i, text := range []string{a, b} {
		d := json.NewDecoder(strings.NewReader(text))
		d.UseNumber()
		if err := d.Decode(&values[i]); err != nil {
			t.Errorf("%q is not JSON: %v", text, err)
			return false
		}
	}
	return reflect.DeepEqual(values[0], values[1])
}

// testListOrder mixes objects and folders whose names start alike. Object stores sort "a/" behind "a-b" by its slash; a
// listing is in the order of the names.
func testListOrder(t *testing.T, b datastore.Backend) {
	for _, key := range []string{
		"d/a/x", "d/a/y/z", "d/a-b", "d/a.b/x", "d/ab", "d/a b", "d/b", "d/a!/x", "d/A", "d/a0/x", "dd/x", "d-d",
		"d/10", "d/9", "d/0.json", "d/0/x",
	} {
		put(t, b, key, "x", datastore.PutOptions{})
	}
	expect := []string{"d/0/", "d/0.json", "d/10", "d/9", "d/A", "d/a/", "d/a b", "d/a!/", "d/a-b", "d/a.b/", "d/a0/", "d/ab", "d/b"}
	if got := keys(t, b, "d"); !slices.Equal(got, expect) {
		t.Errorf("List = %q\nwant   %q", got, expect)
	}
	if got, expect := keys(t, b, ""), []string{"d/", "d-d", "dd/"}; !slices.Equal(got, expect) {
		t.Errorf("List of the root = %q, want %q", got, expect)
	}
	for _, prefix := range []string{"d/a/y/z", "d/a/x", "d/no", "d/a/no"} { // objects and nothing: no folders
		if got := keys(t, b, prefix); got != nil {
			t.Errorf("List(%q) = %q, want nothing", prefix, got)
		}
	}
	if onDisk(b) || b.Type() == "memory" {
		return
	}
	// An object and a folder of one name, which only object stores can have.
	put(t, b, "both/a", "x", datastore.PutOptions{})
	put(t, b, "both/a/b", "y", datastore.PutOptions{})
	want(t, b, "both/a", "x", "")
	want(t, b, "both/a/b", "y", "")
	if got, expect := keys(t, b, "both"), []string{"both/a", "both/a/"}; !slices.Equal(got, expect) {
		t.Errorf("List = %q, want %q", got, expect)
	}
}

// testListMany is more than two pages of any store's listing.
func testListMany(t *testing.T, b datastore.Backend) {
	const objects, folders = 2500, 20
	var expect []string
	for i := range objects {
		expect = append(expect, fmt.Sprintf("many/%04d.json", i))
	}
	todo := make(chan string)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for key := range todo {
				put(t, b, key, "x", datastore.PutOptions{})
			}
		})
	}
	for _, key := range expect {
		todo <- key
	}
	for i := range folders { // a folder between two objects, with objects of its own
		folder := fmt.Sprintf("many/%04d", i*100)
		expect = append(expect, folder+"/")
		todo <- folder + "/x"
		todo <- folder + "/y"
	}
	close(todo)
	wg.Wait()
	slices.Sort(expect) // a slash sorts behind the dot: "0000.json", "0000/"
	slices.SortStableFunc(expect, func(x, y string) int {
		return strings.Compare(strings.TrimSuffix(x, "/"), strings.TrimSuffix(y, "/"))
	})
	got := keys(t, b, "many")
	if !slices.Equal(got, expect) {
		t.Errorf("List gave %d entries, want %d in name order: %s", len(got), len(expect), firstDifference(got, expect))
	}
	n := 0
	for _, err := range b.List(t.Context(), "many") { // stopping in the second page is allowed
		if err != nil {
			t.Fatal(err)
		}
		if n++; n == 1200 {
			break
		}
	}
}

func firstDifference(got, expect []string) string {
	for i := range min(len(got), len(expect)) {
		if got[i] != expect[i] {
			return fmt.Sprintf("entry %d is %q, want %q", i, got[i], expect[i])
		}
	}
	return "one is the start of the other"
}
