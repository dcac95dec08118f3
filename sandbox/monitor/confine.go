// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"errors"

	"github.com/claude-pocket-console/cpc/sandbox/bundle"
	"github.com/claude-pocket-console/cpc/sandbox/confine"
	"github.com/claude-pocket-console/cpc/sandbox/record"
)

// planLabels finds out how the host's security modules confine the sandbox.
func (m *monitor) planLabels() error {
	o, err := m.task.Options, error(nil)
	if m.appArmor, err = confine.AppArmor(o.AppArmor); err != nil {
		return err
	}
	m.labels, err = confine.SELinux(o.SELinux, m.labelsInUse)
	return err
}

// labelsInUse are the labels of the other sandboxes.
func (m *monitor) labelsInUse() ([]string, error) {
	all, err := record.Set{Dirs: m.task.Dirs}.List()
	var labels []string
	for _, e := range all {
		if e.Record.Settings.SELinux != "" {
			labels = append(labels, e.Record.Settings.SELinux)
		}
	}
	return labels, err
}

func (m *monitor) confinement() bundle.Confine {
	return bundle.Confine{AppArmor: m.appArmor, Label: m.labels.Process, MountLabel: m.labels.Mount}
}

// checkLabels reads back what the kernel says of the program that was just
// started: nothing that it does is passed on before that.
func (m *monitor) checkLabels() error {
	var err error
	if m.appArmor != "" {
		err = confine.CheckAppArmor(m.pid, m.appArmor)
	}
	if err = errors.Join(err, m.labels.Check(m.pid)); err == nil {
		s := &m.entry.Record.Settings
		s.AppArmor, s.SELinux = m.appArmor, m.labels.Process
	}
	return err
}
