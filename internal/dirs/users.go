// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package dirs

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Users returns the ids of the users that have a state directory where [Find] puts it for a
// caller who does not say otherwise, root's own left out.
func Users() []int { return usersBelow("/") }

func usersBelow(root string) []int {
	var found []int
	for _, pattern := range []string{"run/user/*/cpc", "tmp/cpc-run-*"} {
		matches, _ := filepath.Glob(filepath.Join(root, pattern)) // the pattern is right
		for _, dir := range matches {
			of := strings.TrimPrefix(filepath.Base(dir), "cpc-run-")
			if of == "cpc" {
				of = filepath.Base(filepath.Dir(dir))
			}
			uid, err := strconv.Atoi(of)
			if err == nil && uid > 0 && strconv.Itoa(uid) == of && isOwn(dir, uid) {
				found = append(found, uid)
			}
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// isOwn is ownedBy for what may be a link that somebody has put there.
func isOwn(dir string, uid int) bool {
	info, err := os.Lstat(dir)
	return err == nil && info.IsDir() && ownedBy(dir, uid)
}

// Runtime returns the runtime directory of a user's session; "" if there is none.
func Runtime(uid int) string {
	if dir := filepath.Join("/run/user", strconv.Itoa(uid)); ownedBy(dir, uid) {
		return dir
	}
	return ""
}
