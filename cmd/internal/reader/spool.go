package reader

import (
	"fmt"
	"os"
)

// spool holds an answer: in memory, and once it is large in a file.
type spool struct {
	dir    string
	memory []byte
	size   int64
	file   *os.File
	path   string
}

// Write implements io.Writer.
func (s *spool) Write(p []byte) (int, error) {
	if s.file == nil && len(s.memory)+len(p) <= maxInline {
		s.memory = append(s.memory, p...)
		s.size += int64(len(p))
		return len(p), nil
	}
	if s.file == nil {
		file, err := os.CreateTemp(s.dir, "mf-read-*")
		if err != nil {
			return 0, fmt.Errorf("keeping a large answer (TMPDIR names where): %w", err)
		}
		s.file, s.path = file, file.Name()
		if _, err := file.Write(s.memory); err != nil {
			return 0, err
		}
		s.memory = s.memory[:0]
	}
	n, err := s.file.Write(p)
	s.size += int64(n)
	return n, err
}

// finish closes the file, if there is one.
func (s *spool) finish() error {
	if s.file == nil {
		return nil
	}
	err := s.file.Close()
	s.file = nil
	return err
}

// reset makes the spool empty. A file that the client has not deleted is.
func (s *spool) reset() {
	_ = s.finish()
	if s.path != "" {
		_ = os.Remove(s.path)
	}
	s.memory, s.size, s.path = s.memory[:0], 0, ""
}
