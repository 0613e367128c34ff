package yaml

import (
	"fmt"
	"reflect"
	"strings"

	yamlv3 "gopkg.in/yaml.v3"

	"github.com/mf-run/mf/diag"
)

// decoder turns the node tree into the structs of document.go and collects everything that is wrong on the way.
type decoder struct {
	source
	diags diag.List
	// skip holds the key nodes whose pair is to be passed over because it has been reported.
	skip map[*yamlv3.Node]bool
	// keys and values hold the nodes by the path of the field, written like a validator namespace, such as
	// "document.steps[0].value.retry".
	keys, values map[string]*yamlv3.Node
	// names holds the fields' names by the nodes of their values, for messages.
	names map[*yamlv3.Node]string
	// failed holds the paths at which decoding has failed, so that no rule complains about the missing value.
	failed map[string]bool
}

// nodeDecoder is a type that decodes itself. It reports what is wrong and returns false then.
type nodeDecoder interface {
	fromNode(d *decoder, n *yamlv3.Node, path string) bool
}

// finding is a diagnostic that has just been reported.
type finding struct{ d *diag.Diagnostic }

func (d *decoder) errorf(span diag.Span, code, format string, args ...any) finding {
	d.diags = append(d.diags, diag.Errorf(span, code, format, args...))
	return finding{&d.diags[len(d.diags)-1]}
}

func (f finding) detail(format string, args ...any) finding {
	*f.d = f.d.WithDetail(format, args...)
	return f
}

func (f finding) note(span diag.Span, format string, args ...any) finding {
	*f.d = f.d.WithNote(span, format, args...)
	return f
}

// rootPath is the path of the document itself: the type's name, as the validator calls it.
const rootPath = "document"

// decodeRoot decodes the document. It returns false if the file is no map at all.
func (d *decoder) decodeRoot(root *yamlv3.Node, doc *document) bool {
	if root.Kind != yamlv3.MappingNode {
		if root.Kind != yamlv3.AliasNode {
			d.errorf(d.span(root), "yaml-not-a-map", "the file is %s, not a flow", describe(root)).
				detail("A flow file is a map of fields: start with \"flow: Name\" and \"steps:\", each at the start of a line.")
		}
		return false
	}
	d.keys[rootPath] = root
	d.values[rootPath] = root
	d.decodeStruct(root, reflect.ValueOf(doc).Elem(), rootPath)
	return true
}

func newDecoder(s source) *decoder {
	return &decoder{source: s, skip: map[*yamlv3.Node]bool{}, keys: map[string]*yamlv3.Node{}, values: map[string]*yamlv3.Node{},
		names: map[*yamlv3.Node]string{}, failed: map[string]bool{}}
}

// decode decodes n into v and returns false if something was wrong with the value itself.
func (d *decoder) decode(n *yamlv3.Node, v reflect.Value, path string) bool {
	d.values[path] = n
	ok := d.decodeValue(n, v, path)
	if !ok {
		d.failed[path] = true
	}
	return ok
}

func (d *decoder) decodeValue(n *yamlv3.Node, v reflect.Value, path string) bool {
	if n.Kind == yamlv3.AliasNode || n.Style&yamlv3.TaggedStyle != 0 {
		return false // reported by checkTree
	}
	if v.Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		return d.decodeValue(n, v.Elem(), path)
	}
	if own, ok := v.Addr().Interface().(nodeDecoder); ok {
		return own.fromNode(d, n, path)
	}
	switch v.Kind() {
	case reflect.Struct:
		return d.decodeStruct(n, v, path)
	case reflect.Slice:
		return d.decodeSlice(n, v, path)
	case reflect.String:
		text, ok := d.text(n)
		v.SetString(text)
		return ok
	case reflect.Bool:
		b, ok := d.boolean(n)
		v.SetBool(b)
		return ok
	case reflect.Int64:
		i, ok := d.integer(n)
		v.SetInt(i)
		return ok
	case reflect.Float64:
		f, ok := d.number(n)
		v.SetFloat(f)
		return ok
	}
	panic("compiler/yaml: no decoding for the type " + v.Type().String())
}

func (d *decoder) decodeStruct(n *yamlv3.Node, v reflect.Value, path string) bool {
	if n.Kind != yamlv3.MappingNode {
		wanted := "a map of fields"
		if names := fieldNames(v.Type()); len(names) <= 8 {
			wanted += " (" + strings.Join(names, ", ") + ")"
		}
		d.wrongType(n, wanted)
		return false
	}
	for key, value := range d.pairs(n) {
		field, ok := fieldOf(v, key.Value)
		if !ok {
			d.unknownField(key, v.Type(), path)
			continue
		}
		d.keys[path+"."+key.Value] = key
		d.names[value] = key.Value
		d.decode(value, field, path+"."+key.Value)
	}
	return true
}

func (d *decoder) decodeSlice(n *yamlv3.Node, v reflect.Value, path string) bool {
	if n.Kind != yamlv3.SequenceNode {
		f := d.wrongType(n, "a list")
		if n.Kind == yamlv3.ScalarNode && n.Value != "" && n.Style == 0 {
			f.detail("Put it into brackets: [%s].", n.Value)
		}
		return false
	}
	v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
	for i, item := range n.Content {
		d.decode(item, v.Index(i), fmt.Sprintf("%s[%d]", path, i))
	}
	return true
}

// pairs walks the keys and values of a mapping that have not been reported by checkTree.
func (d *decoder) pairs(n *yamlv3.Node) func(yield func(key, value *yamlv3.Node) bool) {
	return func(yield func(key, value *yamlv3.Node) bool) {
		for i := 0; i+1 < len(n.Content); i += 2 {
			if !d.skip[n.Content[i]] && !yield(n.Content[i], n.Content[i+1]) {
				return
			}
		}
	}
}

// fieldNames returns the keys that a struct knows, in order.
func fieldNames(t reflect.Type) []string {
	var names []string
	for i := range t.NumField() {
		if tag := t.Field(i).Tag.Get("yaml"); tag != "" {
			names = append(names, tag)
		}
	}
	return names
}

func fieldOf(v reflect.Value, key string) (reflect.Value, bool) {
	for i := range v.NumField() {
		if v.Type().Field(i).Tag.Get("yaml") == key && key != "" {
			return v.Field(i), true
		}
	}
	return reflect.Value{}, false
}

// ordered is a map in the order of the file.
type ordered[T any] []entry[T]

type entry[T any] struct {
	Name string
	key  *yamlv3.Node
	// badKey says that the key has been reported.
	badKey bool
	Value  T `yaml:"value"`
}

// fromNode implements nodeDecoder.
func (o *ordered[T]) fromNode(d *decoder, n *yamlv3.Node, path string) bool {
	if n.Kind != yamlv3.MappingNode {
		d.wrongType(n, "a map of names")
		return false
	}
	for key, value := range d.pairs(n) {
		at := fmt.Sprintf("%s[%d]", path, len(*o))
		d.keys[at] = key
		d.names[value] = key.Value
		*o = append(*o, entry[T]{Name: key.Value, key: key, badKey: !d.nameKey(key)})
		d.decode(value, reflect.ValueOf(&(*o)[len(*o)-1].Value).Elem(), at+".value")
	}
	return true
}

// nameKey reports a key that YAML does not read as a text, and returns false then.
func (d *decoder) nameKey(key *yamlv3.Node) bool {
	if key.Style != 0 || key.Tag == "!!str" && !isTruthWord(key.Value) || key.Tag == "!!timestamp" {
		return true
	}
	d.errorf(d.span(key), "yaml-key", "the name %s reads as %s", orEmpty(key.Value), describeTag(key)).
		detail("Put it in quotes: %q.", key.Value)
	return false
}

func orEmpty(text string) string {
	if text == "" {
		return `""`
	}
	return text
}

// toggle is a setting that can be turned off with "false" where a default has turned it on.
type toggle[T any] struct {
	Off   bool
	Value *T `yaml:"value" validate:"omitempty"`
}

// fromNode implements nodeDecoder.
func (t *toggle[T]) fromNode(d *decoder, n *yamlv3.Node, path string) bool {
	if n.Kind == yamlv3.ScalarNode && n.Tag == "!!bool" && n.Value == "false" {
		t.Off = true
		return true
	}
	t.Value = new(T)
	return d.decode(n, reflect.ValueOf(t.Value).Elem(), path+".value")
}
