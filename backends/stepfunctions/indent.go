package stepfunctions

import "bytes"

// indent lays out JSON that stands on one line: two spaces a level, lists of plain values on one line.
func indent(compact []byte) []byte {
	var b bytes.Buffer
	level := 0
	line := func() {
		b.WriteByte('\n')
		for range level {
			b.WriteString("  ")
		}
	}
	for i := 0; i < len(compact); {
		switch c := compact[i]; c {
		case '"':
			end := stringEnd(compact, i)
			b.Write(compact[i:end])
			i = end
			continue
		case '[', '{':
			if end := flat(compact, i); end > 0 {
				writeFlat(&b, compact[i:end])
				i = end
				continue
			}
			b.WriteByte(c)
			level++
			line()
		case ']', '}':
			level--
			line()
			b.WriteByte(c)
		case ',':
			b.WriteByte(c)
			line()
		case ':':
			b.WriteString(": ")
		default:
			b.WriteByte(c)
		}
		i++
	}
	b.WriteByte('\n')
	return b.Bytes()
}

// stringEnd returns the position behind the string that starts at i.
func stringEnd(b []byte, i int) int {
	for i++; b[i] != '"'; i++ {
		if b[i] == '\\' {
			i++
		}
	}
	return i + 1
}

// flat returns the position behind the list or object that starts at i if it holds no other of several members, else 0: a
// list of plain values, or an object of at most two of them.
func flat(b []byte, i int) int {
	open, members := b[i], 1
	for i++; i < len(b); {
		switch b[i] {
		case '"':
			i = stringEnd(b, i)
			continue
		case '[', '{':
			return 0
		case ',':
			if members++; open == '{' && members > 2 {
				return 0
			}
		case ']', '}':
			return i + 1
		}
		i++
	}
	return 0
}

func writeFlat(b *bytes.Buffer, text []byte) {
	for i := 0; i < len(text); {
		switch c := text[i]; c {
		case '"':
			end := stringEnd(text, i)
			b.Write(text[i:end])
			i = end
			continue
		case ',', ':':
			b.WriteByte(c)
			b.WriteByte(' ')
		default:
			b.WriteByte(c)
		}
		i++
	}
}
