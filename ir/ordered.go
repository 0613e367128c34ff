package ir

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// KV is one entry of an Ordered.
type KV struct {
	// Key is a string, int64, float64 or bool.
	Key any
	// Value is plain data: nil, bool, int64, float64, string, []any or Ordered.
	Value any
}

// Ordered is a map that keeps its order, as a Python dict does.
type Ordered []KV

// Get returns the value under a key; ok is false when there is none.
func (o Ordered) Get(key any) (value any, ok bool) {
	for _, kv := range o {
		if kv.Key == key {
			return kv.Value, true
		}
	}
	return nil, false
}

// MarshalJSON writes an object in order. Keys that are not text are written as their JSON text.
func (o Ordered) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, kv := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		name, isText := kv.Key.(string)
		if !isText {
			name = fmt.Sprint(kv.Key)
		}
		key, err := json.Marshal(name)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(kv.Value)
		if err != nil {
			return nil, fmt.Errorf("%v: %w", kv.Key, err)
		}
		b.Write(key)
		b.WriteByte(':')
		b.Write(value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}
