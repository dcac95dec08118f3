// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"errors"
	"fmt"
	"os"

	"github.com/opencontainers/runc/libcontainer"
)

// Pause stops every process of a container by its cgroup's freezer.
func (r Runtime) Pause(id string) error {
	return r.states().freeze("pause", id, (*libcontainer.Container).Pause)
}

// Resume lets the processes of a paused container go on.
func (r Runtime) Resume(id string) error {
	return r.states().freeze("resume", id, (*libcontainer.Container).Resume)
}

func (d states) freeze(op, id string, do func(*libcontainer.Container) error) error {
	err := d.change(id, do)
	if err != nil {
		return fmt.Errorf("%s %s: %w", op, id, err)
	}
	return nil
}

// change runs an operation on an existing container under its lock.
func (d states) change(id string, do func(*libcontainer.Container) error) error {
	return d.locked(id, changes, func() error {
		c, err := d.load(id)
		if err != nil {
			return err
		}
		return explainCgroup(do(c))
	})
}

// explainCgroup adds to a refusal what it most probably comes from.
func explainCgroup(err error) error {
	if errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("%w (%w)", err, errNoCgroup)
	}
	return err
}
