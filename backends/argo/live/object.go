package argolive

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/mf-run/mf/backends/live"
)

// object is a Kubernetes object as its JSON. Numbers are json.Number.
type object map[string]any

// metadata is for writing: it is made where it is missing.
func (o object) metadata() map[string]any {
	m, ok := o["metadata"].(map[string]any)
	if !ok {
		m = map[string]any{}
		o["metadata"] = m
	}
	return m
}

func (o object) text(field string) string { s, _ := dig(o["metadata"], field).(string); return s }

func (o object) kind() string { s, _ := o["kind"].(string); return s }
func (o object) name() string { return o.text("name") }

// title is how messages name it.
func (o object) title() string { return o.kind() + " " + o.name() }

// table returns labels or annotations; never nil, and not the object's own where it has none.
func (o object) table(field string) map[string]any {
	m, _ := dig(o["metadata"], field).(map[string]any)
	if m == nil {
		m = map[string]any{}
	}
	return m
}

func (o object) label(name string) string { s, _ := o.table("labels")[name].(string); return s }
func (o object) annotation(name string) string {
	s, _ := o.table("annotations")[name].(string)
	return s
}

func (o object) annotate(name, value string) {
	m := o.table("annotations")
	m[name] = value
	o.metadata()["annotations"] = m
}

// content lists the fields that hold what the object says, sorted: all but those that every object has.
func (o object) content() []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(o)) {
		if !slices.Contains([]string{"apiVersion", "kind", "metadata", "status"}, name) {
			names = append(names, name)
		}
	}
	return names
}

func (o object) clone() object { c, _ := cloneValue(map[string]any(o)).(map[string]any); return c }

func cloneValue(v any) any {
	switch v := v.(type) {
	case map[string]any:
		m := make(map[string]any, len(v))
		for k, e := range v {
			m[k] = cloneValue(e)
		}
		return m
	case []any:
		l := make([]any, len(v))
		for i, e := range v {
			l[i] = cloneValue(e)
		}
		return l
	}
	return v
}

// ours reports whether mf made the object. A label can be lost by hand; what mf noted at a deploy says it too.
func (o object) ours() bool {
	return o.label(labelManagedBy) == manager || o.annotation(annotationApplied) != ""
}

// belongs reports whether it is a part of the deployment.
func (o object) belongs(deployment string) bool {
	if of := o.label(labelDeployment); of != "" {
		return of == deployment
	}
	return o.name() == deployment
}

// token is the production token that the object carries; empty for none.
func (o object) token() string {
	if t := o.annotation(annotationToken); t != "" {
		return t
	}
	return o.annotation(annotationMetaflowToken)
}

// item is an object of a deployment's files.
type item struct {
	kind *kind
	object
}

// readFiles returns the objects of a deployment in the order in which they are applied. They carry what mf notes for the
// next deploy.
func readFiles(d live.Deployment, namespace string) ([]item, error) {
	known := map[string]*kind{}
	for _, k := range kinds() {
		known[k.name] = k
	}
	var items []item
	for _, f := range d.Files {
		if ext := path.Ext(f.Path); ext != ".yaml" && ext != ".yml" && ext != ".json" {
			continue
		}
		objects, err := decode(f.Data)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", f.Path, err)
		}
		for _, o := range objects {
			k := known[o.kind()]
			switch ns := o.text("namespace"); {
			case k == nil:
				return nil, fmt.Errorf("%s: mf does not deploy objects of kind %q", f.Path, o.kind())
			case o.name() == "":
				return nil, fmt.Errorf("%s: the %s has no name", f.Path, o.kind())
			case ns != "" && ns != namespace:
				return nil, fmt.Errorf("%s: %s is for namespace %s, but the connection is to namespace %s: the setting argo.namespace says which it is to be",
					f.Path, o.title(), ns, namespace)
			}
			o.metadata()["namespace"] = namespace
			if d.Token != "" && k == workflowTemplates && o.token() == "" {
				o.annotate(annotationToken, d.Token)
			}
			if k == workflowTemplates {
				if err := o.mark(); err != nil {
					return nil, fmt.Errorf("%s: %w", f.Path, err)
				}
			}
			if err := o.noteApplied(); err != nil {
				return nil, fmt.Errorf("%s: %w", f.Path, err)
			}
			items = append(items, item{k, o})
		}
	}
	if len(items) == 0 {
		return nil, errors.New("the deployment has no objects")
	}
	slices.SortStableFunc(items, func(a, b item) int { return a.kind.rank - b.kind.rank })
	return items, nil
}

// decode reads the documents of a YAML or JSON file.
func decode(data []byte) ([]object, error) {
	var list []object
	dec := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(data), 4096)
	for {
		var raw json.RawMessage
		err := dec.Decode(&raw)
		if errors.Is(err, io.EOF) {
			return list, nil
		}
		if err != nil {
			return nil, err
		}
		if len(raw) == 0 {
			continue // only comments
		}
		o, err := decodeJSON(raw)
		if err != nil {
			return nil, err
		}
		if o != nil {
			list = append(list, o)
		}
	}
}

func decodeJSON(text []byte) (object, error) {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var o object
	if err := dec.Decode(&o); err != nil {
		return nil, err
	}
	return o, nil
}

// mark notes in what each run gets from the template which form of the template that is: a digest of it.
func (o object) mark() error {
	text, err := json.Marshal(o["spec"])
	if err != nil {
		return err
	}
	spec, ok := o["spec"].(map[string]any)
	if !ok {
		return nil // the API server will say so
	}
	sum := sha256.Sum256(text)
	tableIn(tableIn(spec, "workflowMetadata"), "annotations")[annotationMark] = hex.EncodeToString(sum[:8])
	return nil
}

// tableIn returns the table of a field, which it makes where it is missing.
func tableIn(m map[string]any, field string) map[string]any {
	t, ok := m[field].(map[string]any)
	if !ok {
		t = map[string]any{}
		m[field] = t
	}
	return t
}

// marked is the mark of a template; empty for one that was not deployed by mf.
func (o object) marked() string {
	return scalar(dig(map[string]any(o), "spec", "workflowMetadata", "annotations", annotationMark))
}

// changed is when the object was last changed, by the server's clock; zero where it does not say.
func (o object) changed() time.Time {
	last, _ := time.Parse(time.RFC3339, o.text("creationTimestamp"))
	managers, _ := dig(o["metadata"], "managedFields").([]any)
	for _, m := range managers {
		if at, err := time.Parse(time.RFC3339, scalar(dig(m, "time"))); err == nil && at.After(last) {
			last = at
		}
	}
	return last
}

// maxApplied bounds the note of what was applied: all annotations of an object have 256 KiB together, and the object,
// which runs copy in parts, 1 MiB.
const maxApplied = 96 << 10

// noteApplied keeps in the object what it says, compressed. A very large one goes without, and a later deploy cannot say
// who changed it.
func (o object) noteApplied() error {
	said := object{"metadata": map[string]any{"labels": o.table("labels"), "annotations": o.table("annotations")}}
	for _, field := range o.content() {
		said[field] = o[field]
	}
	text, err := json.Marshal(said)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return err
	}
	if _, err := z.Write(text); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	if encoded := base64.StdEncoding.EncodeToString(b.Bytes()); len(encoded) <= maxApplied {
		o.annotate(annotationApplied, encoded)
	}
	return nil
}

// applied is what mf applied last; nil where that is not known.
func (o object) applied() object {
	text, err := unzip(o.annotation(annotationApplied))
	if err != nil {
		return nil
	}
	said, err := decodeJSON(text)
	if err != nil {
		return nil
	}
	said["apiVersion"], said["kind"] = o["apiVersion"], o["kind"]
	said.metadata()["name"] = o.name()
	return said
}

// maxUnzipped bounds what a short text may become.
const maxUnzipped = 64 << 20

// unzip reads base64 of gzip.
func unzip(text string) ([]byte, error) {
	if text == "" {
		return nil, errors.New("empty")
	}
	z, err := gzip.NewReader(base64.NewDecoder(base64.StdEncoding, strings.NewReader(text)))
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(z, maxUnzipped+1))
	if err == nil && len(data) > maxUnzipped {
		err = errors.New("too large")
	}
	return data, err
}
