package pickle

import (
	"errors"
	"strings"
)

// build notes which object a pickle asks for; nothing is constructed but the built-in containers.
func (r *reader) build(op byte) error {
	switch op {
	case 'c':
		c, err := r.className()
		r.push(c)
		return err
	case 'i':
		c, err := r.className()
		if err != nil {
			return err
		}
		args, err := r.popMark()
		r.push(construct(c, args))
		return err
	case 'o':
		args, err := r.popMark()
		if err != nil {
			return err
		}
		if len(args) == 0 {
			return errors.New("an object without a class")
		}
		return r.call(args[0], args[1:])
	case 0x92: // NEWOBJ_EX: the keyword arguments do not matter
		if _, err := r.pop(); err != nil {
			return err
		}
	}
	second, err := r.pop()
	if err != nil {
		return err
	}
	first, err := r.pop()
	if err != nil {
		return err
	}
	switch op {
	case 0x93:
		module, okM := first.(string)
		name, okN := second.(string)
		if !okM || !okN {
			return errors.New("a class whose name is no text")
		}
		r.push(class{module, name})
	case 'b':
		o, ok := first.(*object)
		if !ok || o.isTuple() {
			return errors.New("a state without an object")
		}
		o.state = second
		r.push(o)
	default:
		args, ok := second.(*object)
		if !ok || !args.isTuple() {
			return errors.New("an object whose arguments are no tuple")
		}
		return r.call(first, args.args)
	}
	return nil
}

// className reads the two lines that name a class.
func (r *reader) className() (class, error) {
	module, err := r.line()
	if err != nil {
		return class{}, err
	}
	name, err := r.line()
	return class{module, name}, err
}

// call notes that f is called, which is a class or, for what is opaque anyway, an object.
func (r *reader) call(f any, args []any) error {
	switch f := f.(type) {
	case class:
		r.push(construct(f, args))
	case *object:
		if f.isTuple() {
			return errors.New("an object without a class")
		}
		r.push(&object{class: f.class})
	default:
		return errors.New("an object without a class")
	}
	return nil
}

// construct returns the built-in value that c(args) is, or else a note of the object.
func construct(c class, args []any) any {
	switch c.module {
	case "_codecs": // how protocols 0 to 2 spell bytes
		if data, ok := latin1(args); ok && c.name == "encode" {
			return data
		}
	case "builtins", "__builtin__":
		if v, ok := builtin(c.name, args); ok {
			return v
		}
	}
	// Helpers such as copyreg._reconstructor and numpy's _reconstruct take the class that they make.
	if len(args) > 0 && strings.HasPrefix(c.name, "_") {
		if made, ok := args[0].(class); ok {
			c = made
		}
	}
	return &object{class: c, args: args}
}

func builtin(name string, args []any) (any, bool) {
	var only any
	if len(args) > 1 {
		return nil, false
	}
	if len(args) == 1 {
		only = args[0]
	}
	switch name {
	case "bytes", "bytearray":
		if data, ok := only.([]byte); ok {
			return data, true
		}
		return []byte{}, len(args) == 0
	case "set", "frozenset":
		if list, ok := only.(*listNode); ok {
			return &setNode{list.items}, true
		}
		return &setNode{}, len(args) == 0
	}
	return nil, false
}

// latin1 reads the arguments of encode(text, "latin1").
func latin1(args []any) ([]byte, bool) {
	if len(args) != 2 || args[1] != "latin1" {
		return nil, false
	}
	text, ok := args[0].(string)
	if !ok {
		return nil, false
	}
	data := make([]byte, 0, len(text))
	for _, r := range text {
		if r > 0xff {
			return nil, false
		}
		data = append(data, byte(r))
	}
	return data, true
}
