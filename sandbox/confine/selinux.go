// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package confine

import (
	"errors"
	"fmt"

	"github.com/opencontainers/selinux/go-selinux"
	"github.com/opencontainers/selinux/go-selinux/label"
)

// Labels are the SELinux labels of a sandbox; "" where SELinux is off, or the
// caller has turned them off.
type Labels struct {
	Process string // process.selinuxLabel
	Mount   string // linux.mountLabel, and the context of the root file system
}

// SELinuxOn reports whether the kernel enforces, or notes, labels of files.
func SELinuxOn() bool { return selinux.GetEnabled() }

// SELinux returns the labels for the options of --security-opt label=, with a
// pair of categories that none of the labels in use has. Where SELinux is off
// the options mean nothing, as with docker.
func SELinux(options []string, inUse func() ([]string, error)) (Labels, error) {
	if !selinux.GetEnabled() {
		return Labels{}, nil
	}
	others, err := inUse()
	if err != nil {
		return Labels{}, fmt.Errorf("SELinux labels in use: %w", err)
	}
	for _, l := range others {
		if err := selinux.ReserveLabelV2(l); err != nil && !errors.Is(err, selinux.ErrMCSAlreadyExists) {
			return Labels{}, fmt.Errorf("SELinux label %s in use: %w", l, err)
		}
	}
	process, mount, err := label.InitLabels(options)
	if err != nil {
		return Labels{}, fmt.Errorf("SELinux label: %w", err)
	}
	if process != "" {
		if err := selinux.SecurityCheckContext(process); err != nil {
			return Labels{}, fmt.Errorf("SELinux label %s: the host's policy does not know it: %w", process, err)
		}
	}
	return Labels{Process: process, Mount: mount}, nil
}

// Mark gives files of the host that the sandbox sees the label of its mounts.
func (l Labels) Mark(files ...string) error {
	for _, f := range files {
		if f == "" {
			continue
		}
		if err := label.SetFileLabel(f, l.Mount); err != nil {
			return fmt.Errorf("SELinux label of %s: %w", f, err)
		}
	}
	return nil
}

// Check reads back whether a program that was just started has its label.
func (l Labels) Check(pid int) error {
	if l.Process == "" {
		return nil
	}
	return await("SELinux", l.Process, func() (string, error) { return selinux.PidLabel(pid) })
}
