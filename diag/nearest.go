package diag

import "strings"

// longestName bounds the names that Nearest compares: longer ones are hardly misspelt.
const longestName = 64

// Nearest returns the candidate that the name is most likely a misspelling of, the first of equals, or "" when none is
// near: at most a third of its letters wrong, or the same but for capitals, "-" and "_".
func Nearest(name string, candidates []string) string {
	best, bestDistance := "", 0
	folded := fold(name)
	if len(folded) > longestName {
		return ""
	}
	for _, c := range candidates {
		f := fold(c)
		longest := max(len(folded), len(f))
		// Lengths alone say that most candidates are too far away.
		if c == name || len(f) > longestName || 3*abs(len(folded)-len(f)) > longest {
			continue
		}
		d := editDistance(folded, f)
		if 3*d <= longest && (best == "" || d < bestDistance) {
			best, bestDistance = c, d
		}
	}
	return best
}

func fold(s string) string {
	return strings.NewReplacer("-", "", "_", "", " ", "").Replace(strings.ToLower(s))
}

func abs(n int) int { return max(n, -n) }

// editDistance is the number of bytes to insert, remove, replace or swap with their neighbour to make a into b.
func editDistance(a, b string) int {
	before, above, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range above {
		above[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(above[j]+1, row[j-1]+1, above[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, above, row = above, row, before
	}
	return above[len(b)]
}
