package yaml

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	yamlv3 "gopkg.in/yaml.v3"

	"github.com/mf-run/mf/ir"
)

// name is a text that keeps its node, for its span.
type name struct {
	text string
	node *yamlv3.Node
}

// fromNode implements nodeDecoder.
func (v *name) fromNode(d *decoder, n *yamlv3.Node, _ string) bool {
	text, ok := d.text(n)
	v.text, v.node = text, n
	return ok
}

// envValue is the value of an environment variable.
type envValue struct{ text string }

// fromNode implements nodeDecoder.
func (v *envValue) fromNode(d *decoder, n *yamlv3.Node, _ string) bool {
	text, ok := d.verbatim(n)
	v.text = text
	return ok
}

// fromNode implements nodeDecoder: a step with nothing after its colon is an empty map.
func (s *step) fromNode(d *decoder, n *yamlv3.Node, path string) bool {
	return isNull(n) || d.decodeStruct(n, reflect.ValueOf(s).Elem(), path)
}

// fromNode implements nodeDecoder: as for a step.
func (p *parameter) fromNode(d *decoder, n *yamlv3.Node, path string) bool {
	return isNull(n) || d.decodeStruct(n, reflect.ValueOf(p).Elem(), path)
}

// size is a number of MiB, or a text with a unit.
type size struct{ mib int64 }

var sizePattern = regexp.MustCompile(`^([0-9]{1,9}) ?(Mi|Gi|Ti)B?$`)

// fromNode implements nodeDecoder.
func (s *size) fromNode(d *decoder, n *yamlv3.Node, _ string) bool {
	if n.Kind != yamlv3.ScalarNode || n.Tag != "!!str" {
		mib, ok := d.integer(n)
		s.mib = mib
		return ok
	}
	m := sizePattern.FindStringSubmatch(n.Value)
	if m == nil {
		d.errorf(d.span(n), "bad-value", "%q is not a size", n.Value).
			detail("Write a whole number of MiB such as 4096, or one with the unit Mi, Gi or Ti such as 4Gi.")
		return false
	}
	s.mib, _ = strconv.ParseInt(m[1], 10, 64)
	switch m[2] {
	case "Gi":
		s.mib <<= 10
	case "Ti":
		s.mib <<= 20
	}
	return true
}

// timeout is a length of time: seconds, or a text such as "1h30m".
type timeout struct{ seconds int64 }

var timeoutPattern = regexp.MustCompile(`^(?:([0-9]{1,9})h)?(?:([0-9]{1,9})m)?(?:([0-9]{1,9})s)?$`)

// fromNode implements nodeDecoder.
func (t *timeout) fromNode(d *decoder, n *yamlv3.Node, _ string) bool {
	const how = "Write a number of seconds such as 90, or a text such as \"90s\", \"10m\" or \"1h30m\"."
	if n.Kind == yamlv3.ScalarNode && n.Tag == "!!int" {
		seconds, ok := d.integer(n)
		if !ok {
			return false
		}
		t.seconds = seconds
	} else if n.Kind == yamlv3.ScalarNode && n.Tag == "!!str" {
		m := timeoutPattern.FindStringSubmatch(n.Value)
		if m == nil || n.Value == "" {
			d.errorf(d.span(n), "bad-value", "%q is not a length of time", n.Value).detail(how)
			return false
		}
		for i, unit := range []int64{3600, 60, 1} {
			v, _ := strconv.ParseInt(m[i+1], 10, 64) // empty reads as 0
			t.seconds += v * unit
		}
	} else {
		d.wrongType(n, "a length of time").detail(how)
		return false
	}
	if t.seconds <= 0 {
		d.errorf(d.span(n), "bad-value", "a timeout must be longer than %s", n.Value).detail("To turn a default off, write timeout: false.")
		return false
	}
	return true
}

// fromNode implements nodeDecoder.
func (r *retry) fromNode(d *decoder, n *yamlv3.Node, path string) bool {
	if n.Kind == yamlv3.ScalarNode && n.Tag == "!!int" {
		return d.decode(n, reflect.ValueOf(&r.Times).Elem(), path+".times")
	}
	if n.Kind == yamlv3.MappingNode {
		return d.decodeStruct(n, reflect.ValueOf(r).Elem(), path)
	}
	d.wrongType(n, "a number of retries, a map of fields (times, minutes_between), or false")
	return false
}

// fromNode implements nodeDecoder.
func (s *secrets) fromNode(d *decoder, n *yamlv3.Node, path string) bool {
	if n.Kind == yamlv3.SequenceNode {
		return d.decode(n, reflect.ValueOf(&s.Sources).Elem(), path+".sources")
	}
	if n.Kind != yamlv3.MappingNode {
		d.wrongType(n, "a list of sources, or a map with sources and role")
		return false
	}
	return d.decodeStruct(n, reflect.ValueOf(s).Elem(), path)
}

// fromNode implements nodeDecoder.
func (s *schedule) fromNode(d *decoder, n *yamlv3.Node, path string) bool {
	if n.Kind == yamlv3.ScalarNode {
		return d.decode(n, reflect.ValueOf(&s.Every).Elem(), path+".every")
	}
	return d.decodeStruct(n, reflect.ValueOf(s).Elem(), path)
}

// fromNode implements nodeDecoder.
func (p *project) fromNode(d *decoder, n *yamlv3.Node, path string) bool {
	if n.Kind == yamlv3.ScalarNode {
		return d.decode(n, reflect.ValueOf(&p.Name).Elem(), path+".name")
	}
	return d.decodeStruct(n, reflect.ValueOf(p).Elem(), path)
}

// fromNode implements nodeDecoder.
func (c *command) fromNode(d *decoder, n *yamlv3.Node, _ string) bool {
	c.node = n
	switch n.Kind {
	case yamlv3.SequenceNode:
		ok := true
		for _, item := range n.Content {
			text, good := d.verbatim(item)
			ok = ok && good
			c.args = append(c.args, name{text, item})
		}
		if len(c.args) == 0 || ok && c.args[0].text == "" {
			d.errorf(d.span(n), "bad-value", "\"run\" names no program").
				detail("The first item is the program, the others its arguments: [python3, load.py].")
			return false
		}
		return ok
	case yamlv3.ScalarNode:
		if n.Tag == "!!null" || n.Tag == "!!str" && strings.TrimSpace(n.Value) == "" {
			d.errorf(d.span(n), "bad-value", "\"run\" is empty").
				detail("Write a shell line or a list; a step that only joins or splits can leave \"run\" out.")
			return false
		}
		text, ok := d.text(n)
		c.shell = strings.TrimRight(text, "\n")
		return ok
	}
	d.wrongType(n, "a shell line (text) or a list of program and arguments")
	return false
}

// fromNode implements nodeDecoder.
func (t *next) fromNode(d *decoder, n *yamlv3.Node, path string) bool {
	t.node = n
	switch n.Kind {
	case yamlv3.MappingNode:
		return d.decode(n, reflect.ValueOf(&t.Map).Elem(), path+".map")
	case yamlv3.SequenceNode:
		t.split = true
		if len(n.Content) < 2 {
			f := d.errorf(d.span(n), "bad-value", "a list after \"next\" splits, and needs two steps or more")
			if len(n.Content) == 1 && n.Content[0].Kind == yamlv3.ScalarNode {
				f.detail("To go on to one step, write next: %s.", n.Content[0].Value)
			} else {
				f.detail("In the last step, leave \"next\" out.")
			}
			return false
		}
		return d.decode(n, reflect.ValueOf(&t.steps).Elem(), path+".steps")
	}
	if isNull(n) {
		d.errorf(d.span(n), "bad-value", "\"next\" is empty").detail("Name the step to go on to; in the last step, leave \"next\" out.")
		return false
	}
	t.steps = make([]name, 1)
	return d.decode(n, reflect.ValueOf(&t.steps[0]).Elem(), path+".steps")
}

// switchCases are the cases of a switch in order.
type switchCases []switchCase

type switchCase struct {
	key   *yamlv3.Node
	value json.RawMessage
	step  name
}

// fromNode implements nodeDecoder.
func (c *switchCases) fromNode(d *decoder, n *yamlv3.Node, path string) bool {
	if n.Kind != yamlv3.MappingNode {
		d.wrongType(n, "a map from values to steps")
		return false
	}
	*c = switchCases{}
	for key, value := range d.pairs(n) {
		kase := switchCase{key: key}
		kase.value = d.caseKey(key)
		d.names[value] = key.Value
		d.decode(value, reflect.ValueOf(&kase.step).Elem(), fmt.Sprintf("%s[%d]", path, len(*c)))
		*c = append(*c, kase)
	}
	if len(*c) == 0 {
		d.errorf(d.span(n), "bad-value", "the switch has no cases").detail("Write cases: {value: step, …}.")
		return false
	}
	return true
}

// caseKey returns the key of a case as JSON: a text, a whole number or a truth value.
func (d *decoder) caseKey(key *yamlv3.Node) json.RawMessage {
	switch key.Tag {
	case "!!bool":
		return json.RawMessage(strings.ToLower(key.Value))
	case "!!int":
		if i, ok := d.integer(key); ok {
			return json.RawMessage(strconv.FormatInt(i, 10))
		}
	case "!!float", "!!null":
		d.errorf(d.span(key), "bad-value", "a case cannot be %s", orEmpty(key.Value)).
			detail("A case is a text, a whole number, true or false. For the text, put it in quotes: %q.", key.Value)
	default:
		if d.unambiguous(key) {
			return quoteJSON(key.Value)
		}
	}
	return nil
}

// data is any plain value.
type data struct {
	value any
	node  *yamlv3.Node
}

// fromNode implements nodeDecoder.
func (v *data) fromNode(d *decoder, n *yamlv3.Node, _ string) bool {
	v.node = n
	value, ok := d.plain(n)
	v.value = value
	return ok
}

// plain returns a node's value as the JSON data of ir.Attributes.
func (d *decoder) plain(n *yamlv3.Node) (any, bool) {
	switch n.Kind {
	case yamlv3.SequenceNode:
		list, all := make([]any, len(n.Content)), true
		for i, item := range n.Content {
			var ok bool
			list[i], ok = d.plain(item)
			all = all && ok
		}
		return list, all
	case yamlv3.MappingNode:
		m, all := map[string]any{}, true
		for key, item := range d.pairs(n) {
			d.nameKey(key)
			v, ok := d.plain(item)
			m[key.Value] = v
			all = all && ok
		}
		return m, all
	case yamlv3.AliasNode:
		return nil, false
	}
	switch n.Tag {
	case "!!null":
		return nil, true
	case "!!bool":
		return d.boolean(n)
	case "!!int":
		return d.integer(n)
	case "!!float":
		if strings.Trim(n.Value, "+-0123456789_") == "" {
			return d.integer(n) // too large for one, which it reports
		}
		return d.number(n)
	}
	return d.text(n)
}

// jsonOf returns the JSON text of a node that plain has accepted; maps keep the order of the file.
func (d *decoder) jsonOf(n *yamlv3.Node) json.RawMessage {
	var b bytes.Buffer
	switch n.Kind {
	case yamlv3.SequenceNode:
		b.WriteByte('[')
		for i, item := range n.Content {
			if i > 0 {
				b.WriteByte(',')
			}
			b.Write(d.jsonOf(item))
		}
		b.WriteByte(']')
	case yamlv3.MappingNode:
		b.WriteByte('{')
		first := true
		for key, item := range d.pairs(n) {
			if !first {
				b.WriteByte(',')
			}
			first = false
			b.Write(quoteJSON(key.Value))
			b.WriteByte(':')
			b.Write(d.jsonOf(item))
		}
		b.WriteByte('}')
	default:
		v, _ := d.plain(n)
		switch v := v.(type) {
		case nil:
			return json.RawMessage("null")
		case bool:
			return json.RawMessage(strconv.FormatBool(v))
		case int64:
			return json.RawMessage(strconv.FormatInt(v, 10))
		case float64:
			return floatJSON(v)
		case string:
			return quoteJSON(v)
		}
	}
	return b.Bytes()
}

// floatJSON writes a number so that it reads as a float again: with a point or an exponent.
func floatJSON(f float64) json.RawMessage {
	if f == math.Trunc(f) && math.Abs(f) < 1e16 {
		return json.RawMessage(strconv.FormatFloat(f, 'f', 1, 64))
	}
	return json.RawMessage(strconv.FormatFloat(f, 'g', -1, 64))
}

// quoteJSON writes a text as JSON, with <, > and & as they are.
func quoteJSON(text string) json.RawMessage {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	// A string always encodes, into a buffer that always takes it.
	_ = enc.Encode(text)
	return bytes.TrimSpace(b.Bytes())
}

// settings are the attributes of a decorator: one map, or several for a decorator that is given more than once.
type settings struct {
	uses  []ir.Attributes
	nodes []*yamlv3.Node
}

// fromNode implements nodeDecoder.
func (s *settings) fromNode(d *decoder, n *yamlv3.Node, _ string) bool {
	items := []*yamlv3.Node{n}
	if n.Kind == yamlv3.SequenceNode {
		items = n.Content
	}
	all := true
	for _, item := range items {
		if isNull(item) {
			s.uses, s.nodes = append(s.uses, nil), append(s.nodes, item)
			continue
		}
		if item.Kind != yamlv3.MappingNode {
			d.wrongType(item, "a map of attributes").detail("Write the attributes as {name: value}; nothing, or {}, stands for none.")
			all = false
			continue
		}
		v, ok := d.plain(item)
		attrs, _ := v.(map[string]any)
		s.uses, s.nodes = append(s.uses, attrs), append(s.nodes, item)
		all = all && ok
	}
	return all
}
