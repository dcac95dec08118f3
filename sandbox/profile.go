// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"fmt"
	"os"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/claude-pocket-console/cpc/sandbox/bundle"
	"github.com/claude-pocket-console/cpc/seccomp"
)

// loadProfile returns the system call filter that the options ask for: the
// default, one in docker's format from a file, or none.
func loadProfile(o bundle.Options) (*specs.LinuxSeccomp, error) {
	if o.Seccomp == bundle.SeccompUnconfined {
		return nil, nil //nolint:nilnil // "unconfined" is no filter
	}
	caps, err := o.Capabilities()
	if err != nil {
		return nil, err
	}
	if o.Seccomp == "" {
		return seccomp.Default(seccomp.Options{Caps: caps}), nil
	}
	f, err := os.Open(o.Seccomp)
	if err != nil {
		return nil, fmt.Errorf("seccomp profile: %w", err)
	}
	defer f.Close()
	profile, err := seccomp.FromDocker(f, seccomp.Options{Caps: caps})
	if err != nil {
		return nil, fmt.Errorf("seccomp profile %s: %w", o.Seccomp, err)
	}
	return profile, nil
}
