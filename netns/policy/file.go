// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"fmt"
	"io"

	"github.com/BurntSushi/toml"

	"github.com/claude-pocket-console/cpc/internal/notation"
)

// File is the TOML form of rules, as --egress-file reads it:
//
//	allow = ["@debian", "example.org:443", "*.example.com"]
//	deny = ["evil.example.com"]
//
// A configuration file has the same keys in its [egress] table, where limit
// may say that users can narrow the rules only.
type File struct {
	Allow []string `toml:"allow"`
	Deny  []string `toml:"deny"`
	// Limit: policies of less privileged origin are narrowed by this one.
	Limit bool `toml:"limit"`
}

const maxFile = 1 << 20

// ReadFile reads a File strictly: an unknown key and a rule that does not
// parse are errors, and so is a file without rules, which would otherwise stand for
// the default.
func ReadFile(r io.Reader) (File, error) {
	raw, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err != nil {
		return File{}, fmt.Errorf("read egress file: %w", err)
	}
	if len(raw) > maxFile {
		return File{}, fmt.Errorf("read egress file: larger than %d bytes", maxFile)
	}
	var f File
	meta, err := toml.Decode(string(raw), &f)
	if err != nil {
		return File{}, fmt.Errorf("read egress file: %w", notation.TOML(err))
	}
	if extra := meta.Undecoded(); len(extra) > 0 {
		return File{}, fmt.Errorf("read egress file: unknown key %q: there are allow, deny and limit", extra[0].String())
	}
	if !meta.IsDefined("allow") && !meta.IsDefined("deny") {
		return File{}, errors.New("read egress file: neither allow nor deny in it: was it cut off? allow = [] allows nothing")
	}
	if _, err := f.Policy(); err != nil {
		return File{}, fmt.Errorf("read egress file: %w", err)
	}
	return f, nil
}

// Policy returns version 1 of the file's policy.
func (f File) Policy() (*Policy, error) { return New(f.Allow, f.Deny) }
