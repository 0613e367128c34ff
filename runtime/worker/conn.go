// Package worker runs the Python processes that execute step bodies and speaks the step protocol with them
// (docs/step-protocol.md).
//
// A Zygote is one Python process that has loaded the flow and forks a child per task; Spawn starts a fresh process for
// one task instead. Either way the caller gets a Process: a connection for the job, and a way to signal it and to wait
// for it.
package worker

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
)

// maxJSON and maxBlob bound what a peer may announce, so that a broken peer cannot exhaust memory. The JSON of a join
// over 100,000 inputs stays below.
const (
	maxJSON = 1 << 30
	maxBlob = 64 << 20
)

// Message is one received frame.
type Message struct {
	// Op is the message's kind.
	Op string
	// JSON is the whole object.
	JSON json.RawMessage
	// Data is the attached data; nil if none.
	Data []byte
}

// Conn sends and receives frames. Send may be called concurrently, Recv by one goroutine at a time.
type Conn struct {
	rwc io.ReadWriteCloser
	mu  sync.Mutex
}

// NewConn returns a connection over rwc.
func NewConn(rwc io.ReadWriteCloser) *Conn { return &Conn{rwc: rwc} }

// Close closes the underlying stream.
func (c *Conn) Close() error { return c.rwc.Close() }

// Send writes one frame: v as JSON, which must be an object, with data attached.
func (c *Conn) Send(v any, data []byte) error {
	frame, err := encode(v, data)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, err := c.rwc.Write(frame); err != nil {
		return fmt.Errorf("sending to the step process: %w", err)
	}
	return nil
}

func encode(v any, data []byte) ([]byte, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encoding a message to the step process: %w", err)
	}
	frame := make([]byte, 8, 8+len(text)+len(data))
	binary.BigEndian.PutUint32(frame, uint32(len(text)))
	binary.BigEndian.PutUint32(frame[4:], uint32(len(data)))
	return append(append(frame, text...), data...), nil
}

// Recv reads one frame. It returns io.EOF when the peer has closed the connection between two frames.
func (c *Conn) Recv() (Message, error) {
	var head [8]byte
	if _, err := io.ReadFull(c.rwc, head[:]); err != nil {
		if errors.Is(err, io.EOF) {
			return Message{}, io.EOF
		}
		return Message{}, fmt.Errorf("receiving from the step process: %w", err)
	}
	n, m := binary.BigEndian.Uint32(head[:4]), binary.BigEndian.Uint32(head[4:])
	if n > maxJSON || m > maxBlob {
		return Message{}, fmt.Errorf("the step process announced a frame of %d + %d bytes", n, m)
	}
	body, err := c.read(int(n) + int(m))
	if err != nil {
		return Message{}, fmt.Errorf("receiving from the step process: %w", err)
	}
	var op struct {
		Op string `json:"op"`
	}
	if err := json.Unmarshal(body[:n], &op); err != nil {
		return Message{}, fmt.Errorf("reading a message of the step process: %w", err)
	}
	msg := Message{Op: op.Op, JSON: body[:n:n]}
	if m > 0 {
		msg.Data = body[n:]
	}
	return msg, nil
}

// read reads n bytes. Memory for a large frame is taken as it arrives: what a peer announces costs nothing.
func (c *Conn) read(n int) ([]byte, error) {
	const atOnce = 1 << 20
	if n <= atOnce {
		body := make([]byte, n)
		_, err := io.ReadFull(c.rwc, body)
		return body, err
	}
	var body bytes.Buffer
	if got, err := io.CopyN(&body, c.rwc, int64(n)); err != nil || got < int64(n) {
		return nil, errors.Join(err, io.ErrUnexpectedEOF)
	}
	return body.Bytes(), nil
}
