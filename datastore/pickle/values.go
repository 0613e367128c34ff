// Package pickle reads and writes the plain-data part of Python's pickle format.
//
// It never executes anything: it knows the opcodes of plain data and a handful of record classes by name; whatever else
// a pickle asks to construct is reported as opaque, by class. Written is protocol 4, byte by byte what CPython writes
// for values whose strings are distinct objects (CPython refers back to an object that it has met before, which a
// value without identity cannot say).
//
// The Go values are nil, bool, int64, *big.Int (outside int64), float64, string, []byte, []any, Tuple, Set, Dict,
// map[string]any (writing only, in key order) and the record types.
package pickle

import (
	"fmt"
	"math/big"
	"strings"
)

// Tuple is a Python tuple.
type Tuple []any

// Set is a Python set or frozenset; reading only.
type Set []any

// Item is one entry of a Dict.
type Item struct{ Key, Value any }

// Dict is a Python dict, in its order.
type Dict []Item

// Get returns the value under a key; ok is false when there is none.
func (d Dict) Get(key any) (value any, ok bool) {
	for _, item := range d {
		if item.Key == key {
			return item.Value, true
		}
	}
	return nil, false
}

// ForeachFrame is Metaflow's __main__.ForeachFrame: one level of the artifact _foreach_stack.
type ForeachFrame struct {
	Step, Var string
	// NumSplits and Index are int64, or nil for a gang's control task; Value is a string or nil.
	NumSplits, Index, Value any
}

// ExceptionWrapper is metaflow.exception.MetaflowExceptionWrapper: what is kept of a failure.
type ExceptionWrapper struct {
	// Exception is the text, Type the class with its module.
	Exception, Type string
	// Stacktrace is a string or nil.
	Stacktrace any
}

// ParallelUBF is metaflow.flowspec.ParallelUBF: the size of a gang.
type ParallelUBF struct{ NumParallel int }

// IncludedFile is metaflow.includefile.IncludedFile: it stands for a stored file.
type IncludedFile struct {
	// Descriptor says where the file is; see Metaflow's uploader-v2.
	Descriptor map[string]any
}

// Opaque is an object of a class that is not plain data.
type Opaque struct {
	// Class is "module.Name".
	Class string
}

// OpaqueError says that a pickle holds an object that is not plain data.
type OpaqueError struct {
	// Class is "module.Name" of the first such object.
	Class string
}

// Error implements error.
func (e *OpaqueError) Error() string {
	return "a Python object of class " + e.Class + " is not plain data"
}

// TypeName returns the type as Python's str(type(v)) prints it.
func TypeName(v any) string {
	var name string
	switch v := v.(type) {
	case nil:
		name = "NoneType"
	case bool:
		name = "bool"
	case int, int64, *big.Int:
		name = "int"
	case float64:
		name = "float"
	case string:
		name = "str"
	case []byte:
		name = "bytes"
	case []any:
		name = "list"
	case Tuple:
		name = "tuple"
	case Set:
		name = "set"
	case Dict, map[string]any:
		name = "dict"
	case ForeachFrame:
		name = "__main__.ForeachFrame"
	case ExceptionWrapper:
		name = "metaflow.exception.MetaflowExceptionWrapper"
	case ParallelUBF:
		name = "metaflow.flowspec.ParallelUBF"
	case IncludedFile:
		name = "metaflow.includefile.IncludedFile"
	case Opaque:
		name = v.Class
	default:
		name = strings.TrimPrefix(fmt.Sprintf("%T", v), "*")
	}
	return "<class '" + name + "'>"
}
