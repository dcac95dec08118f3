// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package cgroups

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// Enter puts a process into the sandbox's cgroup, whose own it then counts as. Without a
// cgroup it does nothing.
//
// Preconditions: the sandbox exists and is not frozen.
func (p Plan) Enter(pid int) error {
	entered := len(p.Dirs) == 0
	for _, dir := range p.Dirs {
		if !p.owns(dir) {
			return fmt.Errorf("enter cgroup %s: not a directory of this plan", dir)
		}
		err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0)
		switch {
		case errors.Is(err, os.ErrNotExist): // a hierarchy that the runtime did not use
		case err != nil:
			return fmt.Errorf("enter cgroup: %w", err)
		default:
			entered = true
		}
	}
	if !entered {
		return ErrNoCgroup
	}
	return nil
}
