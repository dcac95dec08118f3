// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"github.com/spf13/pflag"

	"github.com/claude-pocket-console/cpc/cgroups"
	"github.com/claude-pocket-console/cpc/internal/dockerflag"
	"github.com/claude-pocket-console/cpc/sandbox/bundle"
)

// stepFlags are the limits of RUN steps.
type stepFlags struct {
	limits  limitFlags
	shmSize string
	ulimits []string
}

func (f *stepFlags) register(fs *pflag.FlagSet) {
	f.limits.register(fs, "", "", "")
	fs.StringVar(&f.shmSize, "shm-size", "", "Size of /dev/shm in RUN steps in `BYTES` (default 64m)")
	fs.StringArrayVar(&f.ulimits, "ulimit", nil, "Resource limit of RUN steps: `NAME=SOFT[:HARD]`")
}

// options are those of steps. What was asked for and this host cannot
// enforce is an error, as of cpc run; the default is left out there.
func (f *stepFlags) options(fs *pflag.FlagSet) (bundle.Options, error) {
	o := bundle.BuildStep()
	asked := cgroups.Limits{}
	if err := f.limits.apply(fs.Changed, &asked); err != nil {
		return o, err
	}
	if err := f.limits.apply(fs.Changed, &o.Limits); err != nil {
		return o, err
	}
	var err error
	if f.shmSize != "" {
		if o.ShmSize, err = dockerflag.ParseSize(f.shmSize); err != nil {
			return o, flagError("--shm-size", err)
		}
	}
	if o.Ulimits, err = parseUlimits(f.ulimits); err != nil {
		return o, err
	}
	host, err := cgroups.Probe()
	if err != nil {
		return o, err
	}
	_, missing, err := host.WithoutSystemd().Enforceable(asked)
	if err != nil {
		return o, err
	}
	if len(missing) > 0 {
		return o, fmt.Errorf("--%s cannot be enforced here: %s (%s)", missing[0].Limit, missing[0].Why, missing[0].Fix)
	}
	return o, nil
}
