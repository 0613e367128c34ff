package flowgen

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
)

// parameter is one of the flow's.
type parameter struct {
	name string
	// initial is the default, as Python source; given is what a run is started with, as text, empty for nothing.
	initial, given string
}

// itemKind is what holds the items of a foreach.
type itemKind int

const (
	list itemKind = iota
	tuple
	// text_ is a string, whose items are its letters.
	text_
	// numbers is a range.
	numbers
	// byTrail is a list whose length depends on what came before.
	byTrail
	// byIndex is a list whose length depends on the index of the foreach around.
	byIndex
	itemKinds
)

// items is what a foreach goes over.
type items struct {
	kind   itemKind
	values []string
}

// most is the most items there can be.
func (i items) most() int { return len(i.values) }

// blank is an item that says nothing.
const blank = "0"

// blank reports whether no item says anything.
func (i items) blank() bool {
	return !slices.ContainsFunc(i.values, func(v string) bool { return v != blank })
}

// source is the items as Python.
func (i items) source() string {
	all := strings.Join(i.values, ", ")
	n := len(i.values)
	switch i.kind {
	case tuple:
		return "(" + all + ",)"
	case text_:
		return strconv.Quote(strings.Join(i.values, ""))
	case numbers:
		return fmt.Sprintf("range(%d)", n)
	case byTrail:
		return fmt.Sprintf("[%s][: 1 + int(self.trail, 16) %% %d]", all, n)
	case byIndex:
		return fmt.Sprintf("[(self.index, k) for k in range(1 + self.index %% %d)]", n)
	}
	return "[" + all + "]"
}

// letters are single characters of one to four bytes.
var letters = []rune("abcxyz 09_äßλ中😀")

// words makes a short text.
func words(rng *rand.Rand) string {
	known := []string{"one", "zwei", "tři", "四", "пять", "🎈", "a b", "x/y", "100%", "$HOME", "#", "back\\slash"}
	var some []string
	for range 1 + rng.IntN(3) {
		some = append(some, known[rng.IntN(len(known))])
	}
	return strings.Join(some, " ")
}

func float(rng *rand.Rand) string {
	special := []string{"0.1", "-0.0", "1e300", "5e-324", "2.5"}
	if rng.IntN(2) == 0 {
		return special[rng.IntN(len(special))]
	}
	return strconv.FormatFloat(rng.NormFloat64()*1000, 'g', -1, 64)
}

// value makes a value of some plain type as Python source; depth bounds lists within lists.
func value(rng *rand.Rand, depth int) string {
	kinds := 8
	if depth > 0 {
		kinds = 12
	}
	switch rng.IntN(kinds) {
	case 0:
		return "None"
	case 1:
		return []string{"True", "False"}[rng.IntN(2)]
	case 2:
		return strconv.Itoa(rng.IntN(1<<20) - 1<<19)
	case 3:
		return fmt.Sprintf("%d ** %d", 2+rng.IntN(9), 40+rng.IntN(100))
	case 4:
		return float(rng)
	case 5:
		return []string{`float("inf")`, `-float("inf")`, `""`, `b""`, `1 + 2j`}[rng.IntN(5)]
	case 6:
		return strconv.Quote(words(rng) + []string{"", "\n", "\t\"'", "\x00"}[rng.IntN(4)])
	case 7:
		return fmt.Sprintf(`bytes(range(%d, %d))`, rng.IntN(100), 100+rng.IntN(156))
	case 8:
		return "[" + several(rng, depth, "") + "]"
	case 9:
		all := several(rng, depth, "")
		if all != "" {
			all += ","
		}
		return "(" + all + ")"
	case 10:
		return "{" + several(rng, depth, "key") + "}"
	}
	return fmt.Sprintf(`"%s" * %d`, string(letters[rng.IntN(len(letters))]), 1+rng.IntN(3000))
}

// several makes the items of a list, or of a dictionary.
func several(rng *rand.Rand, depth int, key string) string {
	var all []string
	for i := range rng.IntN(4) {
		item := value(rng, depth-1)
		if key != "" {
			keys := []string{strconv.Quote(key + strconv.Itoa(i)), strconv.Itoa(i), fmt.Sprintf("(%d, None)", i), fmt.Sprintf(`b"%d"`, i)}
			item = keys[rng.IntN(len(keys))] + ": " + item
		}
		all = append(all, item)
	}
	return strings.Join(all, ", ")
}
