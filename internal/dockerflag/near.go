// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package dockerflag

// Nearest returns the candidate that s was probably meant to be, "" if it is near
// none: one letter in three may be wrong, and at most three.
func Nearest(s string, candidates []string) string {
	if len(s) > 64 {
		return ""
	}
	best, bestDistance := "", min(max(len(s)/3, 1), 3)+1
	for _, c := range candidates {
		if d := distance(s, c); d < bestDistance {
			best, bestDistance = c, d
		}
	}
	return best
}

// distance is how many bytes were added, left out, changed, or swapped with the
// next one.
func distance(a, b string) int {
	before, above, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range above {
		above[j] = j
	}
	for i := range len(a) {
		row[0] = i + 1
		for j := range len(b) {
			changed := above[j]
			if a[i] != b[j] {
				changed++
			}
			row[j+1] = min(changed, row[j]+1, above[j+1]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, above, row = above, row, before
	}
	return above[len(b)]
}
