// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"

	"github.com/spf13/pflag"

	"github.com/claude-pocket-console/cpc/internal/dockerflag"
	"github.com/claude-pocket-console/cpc/sandbox/bundle"
)

// diskFlags are the flags of cpc run that concern the sandbox's disk.
type diskFlags struct {
	size    string
	options []string
}

func (d *diskFlags) register(fs *pflag.FlagSet) {
	fs.StringVar(&d.size, "disk", "10g", "Size in `BYTES` of the disk of the sandbox: a writable root, the volumes of the image and, if the flag is given, /var/tmp")
	fs.StringArrayVar(&d.options, "storage-opt", nil, "`OPTION`: size=BYTES (the same as --disk)")
}

// parse sets the size, and whether a disk was asked for.
func (d *diskFlags) parse(fs *pflag.FlagSet, o *bundle.Options) (err error) {
	size, flag := d.size, "--disk"
	for _, option := range d.options {
		v, ok := strings.CutPrefix(option, "size=")
		if !ok {
			return fmt.Errorf("--storage-opt %q: only size=BYTES is known", option)
		}
		size, flag = v, "--storage-opt"
	}
	if o.Disk, err = dockerflag.ParseDisk(size); err != nil {
		return flagError(flag, err)
	}
	o.DiskAsked = fs.Changed("disk") || len(d.options) > 0
	return nil
}
