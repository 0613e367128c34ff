package ir

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// Attributes are a decorator's settings. Values are JSON data: nil, bool, int64, float64, string, []any and
// map[string]any. A value that JSON cannot say (a function, for example) is a map with the single key "$python",
// whose value is a readable name for it.
type Attributes map[string]any

// UnmarshalJSON keeps whole numbers as int64.
func (a *Attributes) UnmarshalJSON(b []byte) error {
	v, err := DecodeValue(b)
	if err != nil {
		return err
	}
	if v == nil {
		*a = nil
		return nil
	}
	m, ok := v.(map[string]any)
	if !ok {
		return fmt.Errorf("attributes must be an object, not %s", bytes.TrimSpace(b))
	}
	*a = m
	return nil
}

// Int returns a whole number; the default when the attribute is absent or null, or not a number. Fractions are cut.
func (a Attributes) Int(name string, def int64) int64 {
	switch v := a[name].(type) {
	case int64:
		return v
	case float64:
		return int64(v)
	case string:
		if i, err := json.Number(v).Int64(); err == nil {
			return i
		}
	}
	return def
}

// Float returns a number; the default when the attribute is absent, null or not a number.
func (a Attributes) Float(name string, def float64) float64 {
	switch v := a[name].(type) {
	case int64:
		return float64(v)
	case float64:
		return v
	case string:
		if f, err := json.Number(v).Float64(); err == nil {
			return f
		}
	}
	return def
}

// String returns a text; the default when the attribute is absent, null or not a text.
func (a Attributes) String(name, def string) string {
	if v, ok := a[name].(string); ok {
		return v
	}
	return def
}

// Bool returns a truth value; the default when the attribute is absent, null or not a bool.
func (a Attributes) Bool(name string, def bool) bool {
	if v, ok := a[name].(bool); ok {
		return v
	}
	return def
}

// DecodeValue decodes one JSON value into nil, bool, int64, float64, string, []any and map[string]any. Whole numbers
// that fit become int64, others float64. Anything after the value is an error.
func DecodeValue(b []byte) (any, error) {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, err
	}
	if dec.More() {
		return nil, fmt.Errorf("unexpected text after the JSON value")
	}
	return normalize(v), nil
}

func normalize(v any) any {
	switch v := v.(type) {
	case json.Number:
		if i, err := v.Int64(); err == nil {
			return i
		}
		f, err := v.Float64()
		if err != nil {
			return v.String()
		}
		return f
	case []any:
		for i := range v {
			v[i] = normalize(v[i])
		}
		return v
	case map[string]any:
		for k := range v {
			v[k] = normalize(v[k])
		}
		return v
	default:
		return v
	}
}
