// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package dockerflag

import (
	"fmt"
	"strconv"
)

// ParseID says whether a user or group is given by number, and by which. What
// has only digits is a number and never looked up as a name: an image could
// have a user whose name is "1001" and whose id is 0. A number that no id has,
// as 4294967295, which stands for "no id" in the kernel, is an error.
func ParseID(s string) (id uint32, numeric bool, err error) {
	if !isDigits(s) {
		return 0, false, nil
	}
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || n > maxKernelID {
		return 0, true, fmt.Errorf("id %s: the highest is %d", s, uint32(maxKernelID))
	}
	return uint32(n), true, nil
}

// maxKernelID is the highest id; the one above is the kernel's "no id".
const maxKernelID = 1<<32 - 2
