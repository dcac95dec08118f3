// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package dockerfile

import (
	"errors"
	"fmt"
	"regexp"
	"slices"

	"github.com/moby/patternmatcher"

	"github.com/claude-pocket-console/cpc/internal/hint"
	"github.com/claude-pocket-console/cpc/internal/visible"
)

// numericOwner is an owner that needs no account file.
var numericOwner = regexp.MustCompile(`^[0-9]*(:[0-9]*)?$`)

// check refuses flags that make no sense together.
func (c *Copy) check() error {
	if c.Chmod != "" {
		if _, err := ParseMode(c.Chmod); err != nil {
			return err
		}
	}
	if c.Link && !numericOwner.MatchString(c.Chown) {
		return fmt.Errorf("--chown=%s: user and group names can't be resolved when used with --link, use numeric uid[:gid] instead", visible.Line(c.Chown))
	}
	if _, err := c.Excluder(); err != nil {
		return err
	}
	return c.checkSources()
}

// checkSources refuses what cannot be fetched, or not by this instruction.
func (c *Copy) checkSources() error {
	remote := false
	for _, s := range c.SourcePaths {
		kind, _, err := Classify(s)
		if err != nil {
			return err
		}
		switch {
		case kind == RemoteGit && !c.Add:
			return hint.With(errors.New("source can't be a git ref for COPY"), "ADD fetches repositories")
		case kind == RemoteURL && !c.Add:
			return hint.With(errors.New("source can't be a URL for COPY"), "ADD fetches URLs")
		}
		remote = remote || kind != NotRemote
	}
	switch {
	case c.Checksum == "":
		return nil
	case len(c.SourcePaths)+len(c.Inline) != 1:
		return errors.New("checksum can't be specified for multiple sources")
	case !remote:
		return errors.New("checksum requires HTTP(S) or Git sources")
	}
	return nil
}

// flags are those that the history shows.
func (c *Copy) flags(from string) []string {
	var out []string
	if c.Link {
		out = append(out, "--link")
	}
	if c.Parents {
		out = append(out, "--parents")
	}
	for _, f := range [][2]string{{"from", from}, {"chown", c.Chown}, {"chmod", c.Chmod}, {"checksum", c.Checksum}} {
		if f[1] != "" {
			out = append(out, "--"+f[0]+"="+f[1])
		}
	}
	for _, pattern := range c.Exclude {
		out = append(out, "--exclude="+pattern)
	}
	return out
}

// Excluder matches what --exclude leaves out; nil without that flag.
func (c *Copy) Excluder() (*patternmatcher.PatternMatcher, error) {
	if len(c.Exclude) == 0 {
		return nil, nil //nolint:nilnil // nothing is left out
	}
	m, err := patternmatcher.New(slices.Clone(c.Exclude))
	if err != nil {
		return nil, fmt.Errorf("--exclude: %w", err)
	}
	return m, nil
}
