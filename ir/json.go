package ir

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// ErrNewerVersion is matched by the error of Unmarshal for a flow written by a newer version of mf.
var ErrNewerVersion = errors.New("the flow was written by a newer version of mf")

// Marshal writes the JSON form: indented by two spaces, keys in a fixed order, a newline at the end. Equal flows give equal
// bytes. The version written is Version, whatever f says.
func Marshal(f *Flow) ([]byte, error) {
	current := *f
	current.Version = Version
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(&current); err != nil {
		return nil, fmt.Errorf("writing flow %s as JSON: %w", f.Name, err)
	}
	return b.Bytes(), nil
}

// Unmarshal reads the JSON form. It is strict: unknown fields, unknown values of an enumeration, null steps, anything after
// the flow and a version that this reader does not know are errors (ErrNewerVersion for a newer one). It does not
// judge the flow: that is the compiler's business.
func Unmarshal(b []byte) (*Flow, error) {
	var head struct {
		Version *int `json:"version"`
	}
	if err := json.Unmarshal(b, &head); err != nil {
		return nil, fmt.Errorf("reading a flow's JSON: %w", err)
	}
	switch {
	case head.Version == nil || *head.Version < 1:
		return nil, fmt.Errorf("reading a flow's JSON: no \"version\": this is not a flow that mf wrote")
	case *head.Version > Version:
		return nil, fmt.Errorf("%w (its form has version %d, this one reads up to %d): use the mf that wrote it, or newer",
			ErrNewerVersion, *head.Version, Version)
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	f := &Flow{}
	if err := dec.Decode(f); err != nil {
		return nil, fmt.Errorf("reading a flow's JSON: %w", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, fmt.Errorf("reading a flow's JSON: unexpected text after the flow")
	}
	if err := f.validate(); err != nil {
		return nil, fmt.Errorf("reading a flow's JSON: %w", err)
	}
	return f, nil
}

// validate checks what the JSON decoder does not, and makes embedded JSON texts compact.
func (f *Flow) validate() error {
	if err := oneOf("source.language", f.Source.Language, "", Python, YAML); err != nil {
		return err
	}
	for i := range f.Parameters {
		p := &f.Parameters[i]
		if err := oneOf("parameter "+p.Name+": type", p.Type,
			StringType, IntType, FloatType, BoolType, JSONType, FileType); err != nil {
			return err
		}
		p.Default = compact(p.Default)
	}
	for i := range f.Configs {
		f.Configs[i].Value = compact(f.Configs[i].Value)
	}
	for i := range f.Constants {
		f.Constants[i].Value = compact(f.Constants[i].Value)
	}
	if err := validateDecorators(f.Decorators); err != nil {
		return err
	}
	for i, s := range f.Steps {
		if s == nil {
			return fmt.Errorf("steps[%d] is null", i)
		}
		if err := s.validate(); err != nil {
			return fmt.Errorf("step %s: %w", s.Name, err)
		}
	}
	return nil
}

func (s *Step) validate() error {
	if err := validateDecorators(s.Decorators); err != nil {
		return err
	}
	if s.Next == nil {
		return nil
	}
	if err := oneOf("next.kind", s.Next.Kind, Linear, Split, Foreach, Switch, Parallel); err != nil {
		return err
	}
	for i := range s.Next.Cases {
		s.Next.Cases[i].Value = compact(s.Next.Cases[i].Value)
	}
	return nil
}

func validateDecorators(ds []Decorator) error {
	for _, d := range ds {
		if err := oneOf("decorator "+d.Name+": origin", d.Origin, Static, With, Mutator); err != nil {
			return err
		}
	}
	return nil
}

func oneOf[T ~string](what string, got T, allowed ...T) error {
	for _, a := range allowed {
		if got == a {
			return nil
		}
	}
	return fmt.Errorf("%s: unknown value %q", what, got)
}

// compact removes insignificant space from a valid JSON text; an absent one stays nil.
func compact(raw json.RawMessage) json.RawMessage {
	if raw == nil {
		return nil
	}
	var b bytes.Buffer
	if json.Compact(&b, raw) != nil {
		return raw
	}
	return b.Bytes()
}
