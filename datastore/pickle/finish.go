package pickle

import (
	"errors"
	"fmt"
)

// finisher turns what was read into values. What a pickle refers to several times stays shared.
type finisher struct {
	done   map[any]any
	active map[any]bool
	// partly keeps an Opaque where there is no plain value.
	partly bool
}

// opaque is what becomes of an object that is not plain data.
func (f *finisher) opaque(c class) (any, error) {
	if f.partly {
		return Opaque{Class: c.String()}, nil
	}
	return nil, &OpaqueError{Class: c.String()}
}

func (f *finisher) finish(v any, depth int) (any, error) {
	switch v := v.(type) {
	case *listNode, *dictNode, *setNode, *object:
		if have, ok := f.done[v]; ok {
			return have, nil
		}
		if f.active[v] {
			return nil, errors.New("the value contains itself")
		}
		if depth > maxDepth {
			return nil, fmt.Errorf("the value is nested more than %d levels deep", maxDepth)
		}
		f.active[v] = true
		made, err := f.build(v, depth)
		delete(f.active, v)
		f.done[v] = made
		return made, err
	case class:
		return f.opaque(v)
	case mark:
		return nil, errors.New("a mark where a value is expected")
	}
	return v, nil
}

func (f *finisher) build(v any, depth int) (any, error) {
	switch v := v.(type) {
	case *listNode:
		items, err := f.all(v.items, depth)
		return items, err
	case *setNode:
		items, err := f.all(v.items, depth)
		return Set(items), err
	case *dictNode:
		return f.dict(v, depth)
	}
	return f.object(v.(*object), depth)
}

func (f *finisher) all(items []any, depth int) ([]any, error) {
	out := make([]any, len(items))
	for i, item := range items {
		var err error
		if out[i], err = f.finish(item, depth+1); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (f *finisher) dict(d *dictNode, depth int) (Dict, error) {
	flat, err := f.all(d.items, depth)
	if err != nil {
		return nil, err
	}
	out := make(Dict, 0, len(flat)/2)
	at := map[any]int{}
	for i := 0; i < len(flat); i += 2 {
		key := flat[i]
		if hashable(key) {
			if j, again := at[key]; again {
				out[j].Value = flat[i+1]
				continue
			}
			at[key] = len(out)
		}
		out = append(out, Item{key, flat[i+1]})
	}
	return out, nil
}

func hashable(v any) bool {
	switch v.(type) {
	case nil, bool, int64, float64, string:
		return true
	}
	return false
}

// The records, by the class names that they have had.
const (
	kindFrame = iota + 1
	kindException
	kindParallel
	kindIncluded
)

func recordKind(c class) int {
	switch c.String() {
	case "__main__.ForeachFrame", "metaflow.tuple_util.ForeachFrame", "metaflow.task.ForeachFrame", "metaflow.datastore.ForeachFrame":
		return kindFrame
	case "metaflow.exception.MetaflowExceptionWrapper":
		return kindException
	case "metaflow.flowspec.ParallelUBF":
		return kindParallel
	case "metaflow.includefile.IncludedFile":
		return kindIncluded
	}
	return 0
}

func (f *finisher) object(o *object, depth int) (any, error) {
	kind := recordKind(o.class)
	if kind == 0 && !o.isTuple() {
		return f.opaque(o.class)
	}
	args, err := f.all(o.args, depth)
	if err != nil {
		return nil, err
	}
	if o.isTuple() {
		return Tuple(args), nil
	}
	state, err := f.finish(o.state, depth+1)
	if err != nil {
		return nil, err
	}
	dict, _ := state.(Dict)
	switch kind {
	case kindFrame:
		return foreachFrame(args)
	case kindException:
		w := ExceptionWrapper{}
		w.Exception, _ = field(dict, "exception").(string)
		w.Type, _ = field(dict, "type").(string)
		w.Stacktrace = field(dict, "stacktrace")
		return w, nil
	case kindParallel:
		n, _ := field(dict, "num_parallel").(int64)
		return ParallelUBF{NumParallel: int(n)}, nil
	default:
		descriptor, _ := field(dict, "_descriptor").(Dict)
		return IncludedFile{Descriptor: textKeys(descriptor)}, nil
	}
}

func field(d Dict, name string) any {
	v, _ := d.Get(name)
	return v
}

func textKeys(d Dict) map[string]any {
	m := make(map[string]any, len(d))
	for _, item := range d {
		if key, ok := item.Key.(string); ok {
			m[key] = item.Value
		}
	}
	return m
}

// foreachFrame reads the fields there are; older writers had fewer.
func foreachFrame(args []any) (any, error) {
	full := make([]any, 5)
	copy(full, args)
	frame := ForeachFrame{NumSplits: full[2], Index: full[3], Value: full[4]}
	var okStep, okVar bool
	frame.Step, okStep = full[0].(string)
	frame.Var, okVar = full[1].(string)
	if !okStep || !okVar {
		return nil, errors.New("a ForeachFrame without step and variable")
	}
	return frame, nil
}
