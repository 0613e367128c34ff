package pickle

import (
	"encoding/binary"
	"errors"
	"io"
	"math"
	"unicode/utf8"
)

// LargeMin is the size from which Large applies, in bytes.
const LargeMin = frameTarget

// Large returns what Marshal writes before and after the data of a bytes object, or of a text in UTF-8, of at least LargeMin
// bytes: for data that is not to be held in memory.
func Large(size int64, text bool) (before, after []byte) {
	header := bytesHeader
	if text {
		header = textHeader
	}
	return append([]byte{0x80, 4}, header(size)...), []byte{0x94, '.'}
}

func textHeader(n int64) []byte {
	switch {
	case n <= 0xff:
		return []byte{0x8c, byte(n)}
	case n <= math.MaxUint32:
		return binary.LittleEndian.AppendUint32([]byte{'X'}, uint32(n))
	}
	return binary.LittleEndian.AppendUint64([]byte{0x8d}, uint64(n))
}

func bytesHeader(n int64) []byte {
	switch {
	case n <= 0xff:
		return []byte{'C', byte(n)}
	case n <= math.MaxUint32:
		return binary.LittleEndian.AppendUint32([]byte{'B'}, uint32(n))
	}
	return binary.LittleEndian.AppendUint64([]byte{0x8e}, uint64(n))
}

// errNotText is that Marshal would not take what was read for a text.
var errNotText = errors.New("the text is not UTF-8; make it bytes")

// CheckText reads to the end, and fails where Marshal would not take all of it for a text.
func CheckText(r io.Reader) error {
	buf := make([]byte, 64<<10)
	for kept := 0; ; {
		n, err := io.ReadFull(r, buf[kept:])
		have := buf[:kept+n]
		ended := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !ended {
			return err
		}
		whole := len(have)
		if !ended {
			whole = lastRune(have)
		}
		if !utf8.Valid(have[:whole]) && !isText(string(have[:whole])) {
			return errNotText
		}
		if ended {
			return nil
		}
		kept = copy(buf, have[whole:])
	}
}

// lastRune is where the last character of b begins, which may not be there in whole.
func lastRune(b []byte) int {
	for i := len(b) - 1; i >= max(0, len(b)-utf8.UTFMax); i-- {
		if utf8.RuneStart(b[i]) {
			return i
		}
	}
	return len(b)
}
