package datastore

import (
	"encoding/binary"
	"errors"
	"math/bits"
)

// Members are unpacked by a decoder of deflate (RFC 1951) that has the whole input and knows the whole output, which
// saves it what decoders of streams spend on running out of either.

const (
	litBits  = 11
	distBits = 8
	// The most entries that the tables can need: the first level, and a second one of 15 bits in all for each pair of
	// symbols.
	litTable  = 1<<litBits + 286/2<<(15-litBits)
	distTable = 1<<distBits + 30/2<<(15-distBits)

	entryLiteral = 0x80 << 8
	entryEnd     = 0x40 << 8
	entrySub     = 0x20 << 8
)

var errDeflate = errors.New("invalid deflate data")

// inflater holds the tables of the block being read. An entry has, from below, 8 bits: how many bits it takes; 8 bits:
// a flag or how many further bits add to the value, or, of a second level, how many bits index it; 16 bits: the literal,
// the least length or distance, or where the second level starts. 0 is no code.
type inflater struct {
	lit  [litTable]uint32
	dist [distTable]uint32

	src  []byte
	pos  int
	bits uint64
	n    uint // valid bits in bits
	lens [320]uint8
}

var (
	lengthBase  = [29]uint16{3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258}
	lengthExtra = [29]uint8{0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0}
	distBase    = [30]uint16{1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577}
	distExtra   = [30]uint8{0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13}
	codeOrder   = [19]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}
)

func litSymbol(sym int) uint32 {
	switch {
	case sym < 256:
		return uint32(sym)<<16 | entryLiteral
	case sym == 256:
		return entryEnd
	case sym < 257+len(lengthBase):
		return uint32(lengthBase[sym-257])<<16 | uint32(lengthExtra[sym-257])<<8
	}
	return 0
}

func distSymbol(sym int) uint32 {
	if sym < len(distBase) {
		return uint32(distBase[sym])<<16 | uint32(distExtra[sym])<<8
	}
	return 0
}

func plainSymbol(sym int) uint32 { return uint32(sym) << 16 }

// build makes the table of a code from its lengths. A code with fewer words than it could have is let be if it has one
// word or none, as deflate allows for distances; what is not a word is found when it is met.
func build(table []uint32, primary uint, lens []uint8, symbol func(int) uint32) bool {
	var count, next [17]int
	used, longest := 0, uint(0)
	for _, l := range lens {
		if l > 0 {
			count[l]++
			used++
			longest = max(longest, uint(l))
		}
	}
	left := 1
	for l := 1; l <= 15; l++ {
		left = left<<1 - count[l]
		if left < 0 {
			return false
		}
		next[l+1] = (next[l] + count[l]) << 1
	}
	if left > 0 && used > 1 {
		return false
	}
	clear(table[:1<<primary])
	free := 1 << primary
	for sym, l := range lens {
		if l == 0 {
			continue
		}
		code := next[l]
		next[l]++
		reversed := int(bits.Reverse16(uint16(code)) >> (16 - l))
		value := symbol(sym)
		if value == 0 && (sym != 0 || len(lens) != len(codeOrder)) {
			continue // a symbol that must not occur
		}
		if uint(l) <= primary {
			for i := reversed; i < 1<<primary; i += 1 << l {
				table[i] = value | uint32(l)
			}
			continue
		}
		low := reversed & (1<<primary - 1)
		if table[low] == 0 {
			size := longest - primary
			if free+1<<size > len(table) {
				return false
			}
			clear(table[free : free+1<<size])
			table[low] = uint32(free)<<16 | entrySub | uint32(size)<<8 | uint32(primary)
			free += 1 << size
		}
		start, size := int(table[low]>>16), uint(table[low]>>8&0x1f)
		for i := reversed >> primary; i < 1<<size; i += 1 << (uint(l) - primary) {
			table[start+i] = value | uint32(uint(l)-primary)
		}
	}
	return true
}

// need makes sure that there are k bits, at most 32.
func (d *inflater) need(k uint) bool {
	for d.n < k {
		if d.pos == len(d.src) {
			return false
		}
		d.bits |= uint64(d.src[d.pos]) << d.n
		d.pos++
		d.n += 8
	}
	return true
}

func (d *inflater) take(k uint) uint32 {
	v := uint32(d.bits) & (1<<k - 1)
	d.bits >>= k
	d.n -= k
	return v
}

// inflate unpacks all of src, which fills dst exactly.
func (d *inflater) inflate(dst, src []byte) error {
	d.src, d.pos, d.bits, d.n = src, 0, 0, 0
	defer func() { d.src = nil }()
	out := 0
	for last := false; !last; {
		if !d.need(3) {
			return errDeflate
		}
		last = d.take(1) == 1
		var ok bool
		switch d.take(2) {
		case 0:
			out, ok = d.stored(dst, out)
		case 1:
			d.fixed()
			out, ok = d.block(dst, out)
		case 2:
			if ok = d.dynamic(); ok {
				out, ok = d.block(dst, out)
			}
		}
		if !ok {
			return errDeflate
		}
	}
	if out != len(dst) || len(src)-d.pos+int(d.n/8) != 0 {
		return errDeflate
	}
	return nil
}

func (d *inflater) stored(dst []byte, out int) (int, bool) {
	d.take(d.n & 7)
	if !d.need(32) {
		return 0, false
	}
	n, inverse := int(d.take(16)), int(d.take(16))
	d.pos -= int(d.n / 8) // whole bytes that were read ahead
	d.bits, d.n = 0, 0
	if n != ^inverse&0xffff || n > len(d.src)-d.pos || n > len(dst)-out {
		return 0, false
	}
	copy(dst[out:], d.src[d.pos:d.pos+n])
	d.pos += n
	return out + n, true
}

func (d *inflater) fixed() {
	lens := &d.lens
	for i := range 288 {
		switch {
		case i < 144:
			lens[i] = 8
		case i < 256:
			lens[i] = 9
		case i < 280:
			lens[i] = 7
		default:
			lens[i] = 8
		}
	}
	build(d.lit[:], litBits, lens[:288], litSymbol)
	for i := range 32 {
		lens[i] = 5
	}
	build(d.dist[:], distBits, lens[:32], distSymbol)
}

// dynamic reads the codes of a block.
func (d *inflater) dynamic() bool {
	if !d.need(14) {
		return false
	}
	lits, dists, codes := int(d.take(5))+257, int(d.take(5))+1, int(d.take(4))+4
	if lits > 286 || dists > 30 {
		return false
	}
	var lens [19]uint8
	for _, at := range codeOrder[:codes] {
		if !d.need(3) {
			return false
		}
		lens[at] = uint8(d.take(3))
	}
	if !build(d.lit[:1<<7], 7, lens[:], plainSymbol) {
		return false
	}
	for i := 0; i < lits+dists; {
		d.need(14) // as far as there are
		e := d.lit[d.bits&0x7f]
		if e == 0 || uint(e&0xff) > d.n {
			return false
		}
		d.take(uint(e & 0xff))
		sym := uint8(e >> 16)
		if sym < 16 {
			d.lens[i] = sym
			i++
			continue
		}
		var value uint8
		var extra, base uint
		switch sym {
		case 16:
			if i == 0 {
				return false
			}
			value, extra, base = d.lens[i-1], 2, 3
		case 17:
			extra, base = 3, 3
		default:
			extra, base = 7, 11
		}
		if !d.need(extra) {
			return false
		}
		n := int(base) + int(d.take(extra))
		if i+n > lits+dists {
			return false
		}
		for range n {
			d.lens[i] = value
			i++
		}
	}
	return d.lens[256] != 0 && build(d.dist[:], distBits, d.lens[lits:lits+dists], distSymbol) && build(d.lit[:], litBits, d.lens[:lits], litSymbol)
}

// The room at the ends of input and output in which nothing can be overrun in one round.
const (
	nearEndIn  = 16
	matchRoom  = 258 + 16
	nearEndOut = 2 + matchRoom
)

// block unpacks the symbols of a block: fast while it is far from the ends, then with care.
func (d *inflater) block(dst []byte, out int) (int, bool) {
	src, pos, bits, n := d.src, d.pos, d.bits, d.n
	lit, dist := &d.lit, &d.dist
	for pos+nearEndIn <= len(src) && out+nearEndOut <= len(dst) {
		bits |= binary.LittleEndian.Uint64(src[pos:]) << (n & 63)
		pos += int((63 - n) >> 3)
		n |= 56
		// 56 bits and more: three literals never run out; a longest length and distance need 48.
		e := lit[bits&(1<<litBits-1)]
		if e&entryLiteral != 0 {
			bits >>= e & 63
			n -= uint(e & 63)
			dst[out] = byte(e >> 16)
			out++
			e = lit[bits&(1<<litBits-1)]
			if e&entryLiteral != 0 {
				bits >>= e & 63
				n -= uint(e & 63)
				dst[out] = byte(e >> 16)
				out++
				e = lit[bits&(1<<litBits-1)]
				if e&entryLiteral != 0 {
					bits >>= e & 63
					n -= uint(e & 63)
					dst[out] = byte(e >> 16)
					out++
					continue
				}
			}
			if n < 48 {
				bits |= binary.LittleEndian.Uint64(src[pos:]) << (n & 63)
				pos += int((63 - n) >> 3)
				n |= 56
			}
		}
		if e&(entrySub|entryEnd) != 0 || e == 0 {
			if e&entrySub != 0 {
				e, bits, n = second(lit[:], litBits, e, bits, n)
			}
			if e&(entryLiteral|entryEnd) != 0 || e == 0 {
				bits >>= e & 63
				n -= uint(e & 63)
				if e&entryLiteral != 0 {
					dst[out] = byte(e >> 16)
					out++
					continue
				}
				if e == 0 {
					return 0, false
				}
				d.pos, d.bits, d.n = pos, bits, n
				return out, d.trim()
			}
		}
		bits >>= e & 63
		n -= uint(e & 63)
		extra := e >> 8 & 63
		length := int(e>>16) + int(bits&(1<<extra-1))
		bits >>= extra
		n -= uint(extra)
		e = dist[bits&(1<<distBits-1)]
		if e&entrySub != 0 {
			e, bits, n = second(dist[:], distBits, e, bits, n)
		}
		if e == 0 {
			return 0, false
		}
		bits >>= e & 63
		n -= uint(e & 63)
		extra = e >> 8 & 63
		distance := int(e>>16) + int(bits&(1<<extra-1))
		bits >>= extra
		n -= uint(extra)
		from := out - distance
		if from < 0 {
			return 0, false
		}
		if distance < 16 {
			out = repeat(dst, out, distance, length)
			continue
		}
		to, back := dst[out:out+matchRoom], dst[from:from+matchRoom]
		*(*[16]byte)(to) = *(*[16]byte)(back)
		out += length
		if length > 16 {
			*(*[16]byte)(to[16:]) = *(*[16]byte)(back[16:])
			for i := 32; i < length; i += 16 {
				*(*[16]byte)(to[i:]) = *(*[16]byte)(back[i:])
			}
		}
	}
	d.pos, d.bits, d.n = pos, bits, n
	if !d.trim() {
		return 0, false
	}
	return d.careful(dst, out)
}

// second looks up the rest of a code that is longer than primary bits.
func second(table []uint32, primary uint, e uint32, bits uint64, n uint) (uint32, uint64, uint) {
	bits >>= primary
	at := int(e>>16) + int(bits&(1<<(e>>8&0x1f)-1))
	if at >= len(table) {
		return 0, bits, n - primary
	}
	return table[at], bits, n - primary
}

// trim clears the bits above those that count.
func (d *inflater) trim() bool {
	if d.n > 64 {
		return false
	}
	if d.n < 64 {
		d.bits &= 1<<d.n - 1
	}
	return true
}

// repeat copies what is distance back, less than 16. There is room for 16 bytes beyond length.
func repeat(dst []byte, out, distance, length int) int {
	end := out + length
	from := out - distance
	switch {
	case distance >= 8:
		for ; out < end; out, from = out+8, from+8 {
			*(*[8]byte)(dst[out:]) = *(*[8]byte)(dst[from:])
		}
	case distance == 1:
		b := dst[from]
		run := dst[out:end]
		for i := range run {
			run[i] = b
		}
	default:
		for ; out < end; out, from = out+1, from+1 {
			dst[out] = dst[from]
		}
	}
	return end
}

// symbol reads a symbol of a code, and the bits that add to its value.
func (d *inflater) symbol(table []uint32, primary uint) (e uint32, value int, ok bool) {
	d.need(32) // as far as there are
	e = table[d.bits&(1<<primary-1)]
	if e&entrySub != 0 {
		if d.n < primary {
			return 0, 0, false
		}
		d.take(primary)
		e = table[int(e>>16)+int(d.bits&(1<<(e>>8&0x1f)-1))]
	}
	if e == 0 || d.n < uint(e&0xff) {
		return 0, 0, false
	}
	d.take(uint(e & 0xff))
	if e&(entryLiteral|entryEnd) != 0 {
		return e, int(e >> 16), true
	}
	extra := uint(e >> 8 & 0xff)
	if !d.need(extra) {
		return 0, 0, false
	}
	return e, int(e>>16) + int(d.take(extra)), true
}

// careful is block near the ends.
func (d *inflater) careful(dst []byte, out int) (int, bool) {
	for {
		e, value, ok := d.symbol(d.lit[:], litBits)
		switch {
		case !ok:
			return 0, false
		case e&entryEnd != 0:
			return out, true
		case e&entryLiteral != 0:
			if out == len(dst) {
				return 0, false
			}
			dst[out] = byte(value)
			out++
			continue
		}
		_, distance, ok := d.symbol(d.dist[:], distBits)
		if !ok || distance > out || value > len(dst)-out {
			return 0, false
		}
		for range value {
			dst[out] = dst[out-distance]
			out++
		}
	}
}
