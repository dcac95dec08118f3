// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package dockerflag

import (
	"errors"
	"fmt"
	"strings"
)

// Security is what all --security-opt together say; nil and "" is not given.
type Security struct {
	NoNewPrivileges *bool
	// Seccomp is "" for the default profile, "unconfined", or a file name.
	Seccomp string
	// AppArmor is "" for the default profile, "unconfined", or a profile's name.
	AppArmor string
	// Labels are SELinux options: disable, or user:, role:, type:, level: and
	// filetype: with a value.
	Labels []string
}

// SeccompUnconfined is the value that turns the system call filter off.
const SeccompUnconfined = "unconfined"

// ParseSecurity parses all values of --security-opt. Where one is given twice
// with different meanings, that is an error rather than a guess.
func ParseSecurity(options []string) (Security, error) {
	var s Security
	seccomp := false
	for _, o := range options {
		key, value := cutOption(o)
		var err error
		switch key {
		case "no-new-privileges":
			err = s.setNoNew(value)
		case "seccomp":
			was := s.Seccomp
			s.Seccomp, err = seccompOf(value)
			if err == nil && seccomp && was != s.Seccomp {
				err = errors.New("given twice, with different values")
			}
			seccomp = true
		case "apparmor":
			err = s.setAppArmor(value)
		case "label":
			err = s.addLabel(value)
		case "systempaths", "writable-cgroups":
			err = errors.New("not supported: the sandbox's masked paths and read-only cgroups stay")
		default:
			err = errors.New("unknown (known: no-new-privileges, seccomp=FILE, apparmor=PROFILE, label=disable or label=type:TYPE and the like)")
		}
		if err != nil {
			return Security{}, fmt.Errorf("security option %q: %w", o, err)
		}
	}
	return s, nil
}

// cutOption cuts at the first = or, in docker's older form, at the first colon.
func cutOption(s string) (key, value string) {
	i := strings.IndexAny(s, "=:")
	if i < 0 {
		return s, ""
	}
	return s[:i], s[i+1:]
}

func (s *Security) setNoNew(value string) error {
	on := value == "" || value == "true"
	if !on && value != "false" {
		return errors.New("must be no-new-privileges, no-new-privileges=true or no-new-privileges=false")
	}
	if s.NoNewPrivileges != nil && *s.NoNewPrivileges != on {
		return errors.New("given twice, with different values")
	}
	s.NoNewPrivileges = &on
	return nil
}

func seccompOf(value string) (string, error) {
	switch value {
	case "":
		return "", errors.New("must be seccomp=FILE, seccomp=unconfined or seccomp=builtin")
	case "builtin":
		return "", nil
	}
	return value, nil
}

// maxProfile bounds the name of an AppArmor profile.
const maxProfile = 255

func (s *Security) setAppArmor(value string) error {
	switch {
	case value == "":
		return errors.New("must be apparmor=PROFILE or apparmor=unconfined")
	case s.AppArmor != "" && s.AppArmor != value:
		return errors.New("given twice, with different values")
	case len(value) > maxProfile:
		return errors.New("the profile's name is too long")
	case strings.ContainsFunc(value, func(r rune) bool { return r <= ' ' || r >= 0x7f }):
		return errors.New("the profile's name has spaces or other strange characters")
	}
	s.AppArmor = value
	return nil
}

// addLabel takes what podman and docker take; the kernel judges the values.
func (s *Security) addLabel(value string) error {
	key, v, _ := strings.Cut(value, ":")
	switch {
	case value == "disable":
	case key == "user", key == "role", key == "type", key == "level", key == "filetype":
		if v == "" || strings.ContainsFunc(v, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '"' }) {
			return fmt.Errorf("must be label=%s:VALUE", key)
		}
	default:
		return errors.New("must be label=disable, or label= with user:, role:, type:, level: or filetype: and a value")
	}
	s.Labels = append(s.Labels, value)
	return nil
}
