// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"errors"

	"github.com/claude-pocket-console/cpc/internal/dirs"
	"github.com/claude-pocket-console/cpc/sandbox/bundle"
	"github.com/claude-pocket-console/cpc/sandbox/confine"
	"github.com/claude-pocket-console/cpc/sandbox/record"
)

// confinement is what the host's security modules do with the sandbox.
type confinement struct {
	appArmor string // profile, "" for none
	labels   confine.Labels
}

// planConfinement finds out how the host's security modules confine the sandbox.
func planConfinement(t *Task) (c confinement, err error) {
	if c.appArmor, err = confine.AppArmor(t.options().AppArmor); err != nil {
		return c, err
	}
	c.labels, err = confine.SELinux(t.options().SELinux, func() ([]string, error) { return labelsInUse(t.Dirs) })
	return c, err
}

// labelsInUse are the labels of the other sandboxes.
func labelsInUse(d dirs.Dirs) ([]string, error) {
	all, err := record.Set{Dirs: d}.List()
	var labels []string
	for _, e := range all {
		if e.Record.Applied.SELinux != "" {
			labels = append(labels, e.Record.Applied.SELinux)
		}
	}
	return labels, err
}

func (c confinement) plan() bundle.Confine {
	return bundle.Confine{AppArmor: c.appArmor, Label: c.labels.Process, MountLabel: c.labels.Mount}
}

// check reads back what the kernel says of a program that was just started.
func (c confinement) check(pid int) error {
	var err error
	if c.appArmor != "" {
		err = confine.CheckAppArmor(pid, c.appArmor)
	}
	return errors.Join(err, c.labels.Check(pid))
}
