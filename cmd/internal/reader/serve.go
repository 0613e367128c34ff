package reader

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime/debug"

	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/metadata"
)

// Options tune Serve.
type Options struct {
	// Open opens the datastore at another root than the one served, for artifacts that were written there; nil to look
	// for all of them in the one served.
	Open func(ctx context.Context, root string) (*datastore.Store, error)
	// TempDir is where answers are put that are too large for the pipe; empty for the system's folder.
	TempDir string
}

const (
	// maxQuestion bounds a question, in bytes.
	maxQuestion = 1 << 20
	// maxInline is the largest answer that goes over the pipe, in bytes.
	maxInline = 256 << 10
)

// question is what the client asks. A frame of it is a big-endian u32 length and the JSON.
type question struct {
	Op string `json:"op"`
	// Path is a pathspec's parts: the object that is asked about, or whose children, metadata, artifacts or log are.
	Path []string `json:"path"`
	// Tags select runs that have all of them; Limit bounds the number of runs, 0 does not.
	Tags  []string `json:"tags"`
	Limit int      `json:"limit"`
	// Attempt is the attempt; nil for the last that is finished.
	Attempt *int `json:"attempt"`
	// Digest is an artifact's digest, Root the root of the datastore that it was written into.
	Digest string `json:"digest"`
	Root   string `json:"root"`
	Stream string `json:"stream"`
	// Descriptor stands for an included file.
	Descriptor map[string]any `json:"descriptor"`
}

// header precedes an answer, as a big-endian u32 length and the JSON. The answer itself follows, Size bytes of it, or is in
// the file Path, which is the client's to delete. After an error there is none.
type header struct {
	Size int64  `json:"size"`
	Path string `json:"path,omitempty"`
	// Error is a line for the user; Missing is set when what is asked for is not there.
	Error   string `json:"error,omitempty"`
	Missing bool   `json:"missing,omitempty"`
}

// Serve answers questions until in ends. It returns an error when answers cannot be written, or in is no sequence of
// frames; whatever else is wrong is told in the answer. A question that is being answered when in ends is given up.
func Serve(ctx context.Context, in io.Reader, out io.Writer, store *datastore.Store, meta metadata.Reader, opt Options) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s := &server{store: store, meta: meta, opt: opt, stores: map[string]*datastore.Store{}}
	answer := &spool{dir: opt.TempDir}
	defer answer.reset()
	questions := make(chan []byte)
	var broken error
	go func() {
		defer cancel()
		defer close(questions)
		for {
			text, err := readFrame(in)
			if err != nil {
				if !errors.Is(err, io.EOF) {
					broken = err
				}
				return
			}
			select {
			case questions <- text:
			case <-ctx.Done():
				return
			}
		}
	}()
	for text := range questions {
		answer.reset()
		h := s.handle(ctx, text, answer)
		if err := writeAnswer(out, h, answer); err != nil {
			return fmt.Errorf("answering: %w", err)
		}
	}
	if broken != nil {
		return errors.Join(broken, writeAnswer(out, header{Error: broken.Error()}, nil))
	}
	return nil
}

// refuse answers every question with an error.
func refuse(in io.Reader, out io.Writer, reason error) error {
	for {
		if _, err := readFrame(in); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := writeAnswer(out, header{Error: reason.Error()}, nil); err != nil {
			return fmt.Errorf("answering: %w", err)
		}
	}
}

func readFrame(in io.Reader) ([]byte, error) {
	var length [4]byte
	if _, err := io.ReadFull(in, length[:]); err != nil {
		return nil, io.EOF // the client is gone, be it in the middle of a question
	}
	n := binary.BigEndian.Uint32(length[:])
	if n > maxQuestion {
		return nil, fmt.Errorf("a question of %d bytes is too long; at most %d are allowed", n, maxQuestion)
	}
	text := make([]byte, n)
	if _, err := io.ReadFull(in, text); err != nil {
		return nil, io.EOF
	}
	return text, nil
}

func writeAnswer(out io.Writer, h header, answer *spool) error {
	text, err := json.Marshal(h)
	if err != nil {
		return err
	}
	frame := append(binary.BigEndian.AppendUint32(nil, uint32(len(text))), text...)
	if h.Error == "" && h.Path == "" {
		frame = append(frame, answer.memory...)
	}
	_, err = out.Write(frame)
	return err
}

// handle answers one question into the spool.
func (s *server) handle(ctx context.Context, text []byte, answer *spool) (h header) {
	defer func() {
		if fault := recover(); fault != nil {
			h = header{Error: fmt.Sprintf("bug in mf: %v\n%s", fault, debug.Stack())}
		}
	}()
	var q question
	err := json.Unmarshal(text, &q)
	if err != nil {
		err = fmt.Errorf("the question is not the expected JSON: %w", err)
	} else {
		err = s.answer(ctx, &q, answer)
	}
	if err == nil {
		err = answer.finish()
	}
	if err != nil {
		return header{Error: err.Error(), Missing: errors.Is(err, metadata.ErrNotFound) || errors.Is(err, datastore.ErrNotFound)}
	}
	return header{Size: answer.size, Path: answer.path}
}
