package worker

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
)

type stream struct {
	io.Reader
	io.Writer
}

func (stream) Close() error { return nil }

func TestFrames(t *testing.T) {
	var wire bytes.Buffer
	out := NewConn(stream{strings.NewReader(""), &wire})
	if err := out.Send(map[string]any{"op": "put", "name": "x"}, []byte("data")); err != nil {
		t.Fatal(err)
	}
	if err := out.Send(map[string]any{"op": "done"}, nil); err != nil {
		t.Fatal(err)
	}
	in := NewConn(stream{&wire, io.Discard})
	first, err := in.Recv()
	if err != nil || first.Op != "put" || string(first.Data) != "data" {
		t.Errorf("%+v, %v", first, err)
	}
	second, err := in.Recv()
	if err != nil || second.Op != "done" || second.Data != nil {
		t.Errorf("%+v, %v", second, err)
	}
	if _, err := in.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v", err)
	}
}

func FuzzRecv(f *testing.F) {
	frame, err := encode(map[string]string{"op": "get"}, []byte("x"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(frame)
	f.Add([]byte("\xff\xff\xff\xff\xff\xff\xff\xff"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		c := NewConn(stream{bytes.NewReader(data), io.Discard})
		for range 10 {
			if _, err := c.Recv(); err != nil {
				return
			}
		}
	})
}
