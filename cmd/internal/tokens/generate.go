package tokens

import (
	"crypto/sha1"
	"encoding/base32"
	"fmt"
	"hash/adler32"
	"slices"
	"strings"
)

// Prefix returns what the tokens of a flow without @project start with. The name is the one given for the deployment or,
// without one, the flow's own.
func Prefix(name string) string { return strings.ToLower(name) }

// ProjectPrefix returns what the tokens of a project's branch ("prod", "test.NAME", "user.NAME" …) start with. All flows of
// the branch share a token.
func ProjectPrefix(project, branch string) string {
	sum := sha1.Sum([]byte(project + "." + branch))
	return "mfprj-" + strings.ToLower(base32.StdEncoding.EncodeToString(sum[:])[:16])
}

// prefixOf is what a token of a sequence starts with; empty for one that somebody made up.
func prefixOf(token string) string {
	for range 2 {
		token = token[:max(0, strings.LastIndexByte(token, '-'))]
	}
	return token
}

// generations is how many tokens a prefix has.
const generations = 10_000

// next returns the token after the given one in the sequence that Metaflow draws tokens of a prefix from; the first one
// after none. It is empty where the given token is not of the sequence, or its last.
func next(prefix, before string) string {
	if before == "" {
		return generation(prefix, 0)
	}
	for i := range generations - 1 {
		if strings.HasPrefix(before, fmt.Sprintf("%s-%d-", prefix, i)) && same(before, generation(prefix, i)) {
			return generation(prefix, i+1)
		}
	}
	return ""
}

// generation returns token i: the prefix, the number, and four different letters drawn by Python's generator, seeded with a
// checksum of what stands before them.
func generation(prefix string, i int) string {
	head := fmt.Sprintf("%s-%d-", prefix, i)
	var drawn []byte
	for r := newTwister(adler32.Checksum([]byte(head))); len(drawn) < 4; {
		// Five bits are what a number below 26 takes; Python draws again for those that are too large.
		n := r.next() >> 27
		if letter := byte('a' + n); n < 26 && !slices.Contains(drawn, letter) {
			drawn = append(drawn, letter)
		}
	}
	return head + string(drawn)
}

// twister is the Mersenne Twister MT19937, which Python's random is, as far as the first 227 numbers.
type twister struct {
	state [twisterSize]uint32
	at    int
}

const (
	twisterSize = 624
	twisterSkip = 397
)

// newTwister seeds by an array of one number, as Python does.
func newTwister(seed uint32) *twister {
	var t twister
	t.state[0] = 19650218
	for i := 1; i < twisterSize; i++ {
		t.state[i] = 1812433253*(t.state[i-1]^t.state[i-1]>>30) + uint32(i)
	}
	i := 1
	mix := func(factor, add uint32) {
		t.state[i] = (t.state[i] ^ (t.state[i-1]^t.state[i-1]>>30)*factor) + add
		if i++; i == twisterSize {
			t.state[0], i = t.state[twisterSize-1], 1
		}
	}
	for range twisterSize {
		mix(1664525, seed)
	}
	for range twisterSize - 1 {
		mix(1566083941, -uint32(i))
	}
	t.state[0] = 1 << 31
	return &t
}

// next returns the next number. Each is made of the state before it alone up to the 227th, and a token takes a few.
func (t *twister) next() uint32 {
	i := t.at
	t.at++
	if t.at > twisterSize-twisterSkip {
		panic("bug in mf: a token takes more random numbers than there are")
	}
	y := t.state[i]&(1<<31) | t.state[i+1]&(1<<31-1)
	n := t.state[i+twisterSkip] ^ y>>1
	if y&1 == 1 {
		n ^= 0x9908b0df
	}
	n ^= n >> 11
	n ^= n << 7 & 0x9d2c5680
	n ^= n << 15 & 0xefc60000
	return n ^ n>>18
}
