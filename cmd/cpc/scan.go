// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/claude-pocket-console/cpc/internal/hint"
	"github.com/claude-pocket-console/cpc/rootfs"
	"github.com/claude-pocket-console/cpc/sbom"
)

// scanFailure is the exit status of a scan that found what --fail-on names.
const scanFailure = 3

// scanFlags are the flags of cpc scan, which cpc build --scan has, too.
type scanFlags struct {
	failOn, maxAge string
	db, ignore     []string
	offline        bool
}

func (f *scanFlags) register(fs *pflag.FlagSet) {
	fs.StringVar(&f.failOn, "fail-on", "", "Exit with status 3 if an advisory of this `SEVERITY` or higher applies: unknown, none, low, medium, high or critical")
	fs.StringArrayVar(&f.db, "db", nil, "Advisories in the OSV format: a `FILE`, a directory, or the URL of a mirror of osv.dev's archives")
	fs.BoolVar(&f.offline, "offline", false, "Download nothing; use the advisories that are stored")
	fs.StringVar(&f.maxAge, "max-age", "168h", "Refuse advisories that are older than this `DURATION`; 0 accepts any age")
	fs.StringArrayVar(&f.ignore, "ignore", nil, "Ignore the advisory with this `ID` or alias")
}

func (a contentCommands) scanCommand() *cobra.Command {
	f := &scanFlags{}
	var l listing
	var pull string
	cmd := &cobra.Command{
		Use: "scan [OPTIONS] IMAGE", Short: "Check an image for known vulnerabilities",
		Long: `Compare the software in an image with security advisories in the OSV format.

Without --db, cpc downloads the advisories from osv.dev: one archive for each
ecosystem that the image has packages of. The archives are kept beside the images
and downloaded again when they are older than --max-age. The comparison happens
on this machine, so nobody learns what the image contains. The exit status is 0,
or 3 if --fail-on applies.`,
		Example: `  cpc scan --fail-on high claude-pocket-console/sandbox:latest
  cpc scan --offline --db advisories/ debian:trixie-slim`,
		Args: wants(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, _, err := f.parse(); err != nil {
				return usageError{err}
			}
			return a.inStore(func(store *rootfs.Store) error {
				img, err := a.findOrPull(cmd.Context(), store, args[0], pull)
				if err != nil {
					return err
				}
				found, err := a.inventory(cmd.Context(), store, img, false)
				if err != nil {
					return err
				}
				return a.scan(cmd, f, l, found.Inventory.Packages)
			})
		},
	}
	f.register(cmd.Flags())
	cmd.Flags().StringVar(&pull, "pull", pullMissing, "`WHEN` to pull the image: always, missing or never")
	l.register(cmd)
	return cmd
}

// parse checks the flags.
func (f *scanFlags) parse() (failOn sbom.Severity, maxAge time.Duration, err error) {
	if f.failOn != "" {
		if failOn, err = sbom.ParseSeverity(f.failOn); err != nil {
			return 0, 0, flagError("--fail-on", err)
		}
	}
	maxAge, err = time.ParseDuration(f.maxAge)
	if err != nil || maxAge < 0 {
		return 0, 0, fmt.Errorf("--max-age %q: must be a duration such as 72h", f.maxAge)
	}
	for _, db := range f.db {
		if isURL(db) && f.offline {
			return 0, 0, fmt.Errorf("--db %s: cannot be fetched with --offline", db)
		}
	}
	return failOn, maxAge, nil
}

func isURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http")
}

// scan looks the inventory up and prints what was found.
func (a contentCommands) scan(cmd *cobra.Command, f *scanFlags, l listing, packages []sbom.Package) error {
	failOn, maxAge, err := f.parse()
	if err != nil {
		return usageError{err}
	}
	paths, err := f.advisories(cmd.Context(), a.inside.Dirs.Data, sbom.Ecosystems(packages), maxAge)
	if err != nil {
		return err
	}
	program, err := sbom.Find()
	if err != nil {
		return err
	}
	result, err := program.Match(cmd.Context(), packages, paths)
	if err != nil {
		return err
	}
	if age := time.Since(result.Oldest); maxAge > 0 && age > maxAge {
		return fmt.Errorf("%w: %s old, the limit is %s", errOldAdvisories, age.Round(time.Hour), maxAge)
	}
	result.Findings = slices.DeleteFunc(result.Findings, f.ignored)
	if err := printFindings(cmd, l, result, len(packages)); err != nil {
		return err
	}
	if f.failOn != "" && slices.ContainsFunc(result.Findings, func(x sbom.Finding) bool { return x.Severity >= failOn }) {
		fmt.Fprintf(stderr(), "%s: there are advisories of severity %s or worse\n", cmd.CommandPath(), failOn)
		return exitStatus(scanFailure)
	}
	return nil
}

// errOldAdvisories reports advisories that are too old to go by.
var errOldAdvisories = hint.New("the advisories are too old",
	"Download them again, or accept them as they are with: --max-age 0")

func (f *scanFlags) ignored(x sbom.Finding) bool {
	return slices.ContainsFunc(f.ignore, func(id string) bool { return id == x.ID || slices.Contains(x.Aliases, id) })
}

// advisories returns the files to look in, fetching those that are to be.
func (f *scanFlags) advisories(ctx context.Context, data string, ecosystems []string, maxAge time.Duration) ([]string, error) {
	var paths []string
	for _, db := range f.db {
		if !isURL(db) {
			paths = append(paths, db)
		}
	}
	if len(f.db) > 0 && len(paths) == len(f.db) {
		return paths, nil
	}
	source, dir := sbom.Source, filepath.Join(data, "osv")
	for _, db := range f.db {
		if isURL(db) {
			source, dir = db, filepath.Join(data, "osv", url.PathEscape(db))
		}
	}
	m := sbom.Mirror{Dir: dir, Source: source, Tell: func(line string) { fmt.Fprintln(stderr(), "cpc scan:", line) }}
	for _, e := range ecosystems {
		path, err := m.Path(e)
		if err != nil {
			return nil, err
		}
		age, err := m.Age(e)
		missing := errors.Is(err, fs.ErrNotExist)
		if err != nil && !missing {
			return nil, err
		}
		switch {
		case f.offline && missing:
			continue // reported as unchecked
		case !f.offline && (missing || maxAge > 0 && age > maxAge):
			if err := m.Update(ctx, e); err != nil {
				return nil, notFetched(err, missing)
			}
		}
		paths = append(paths, path)
	}
	if len(paths) == 0 && len(ecosystems) > 0 {
		return nil, fmt.Errorf("%w for %s in %s", errNoAdvisories, strings.Join(ecosystems, ", "), dir)
	}
	return paths, nil
}

// advisoriesHint says how to scan without a network.
const advisoriesHint = "Without a network, download " + sbom.Source + `/ECOSYSTEM/all.zip
on a machine that has one (ECOSYSTEM is Debian, PyPI, npm, Go, ...) and use the files:
  cpc scan --db Debian.zip --db PyPI.zip IMAGE
Or use a mirror with the same paths:
  cpc scan --db https://MIRROR IMAGE
See docs/sbom.md.`

// Advisories that cannot be fetched: where there are none yet, and where there are
// old ones.
var (
	errNotFetched = hint.New("the advisories cannot be fetched",
		advisoriesHint)
	errNotFetchedAgain = hint.Beside(fmt.Errorf("%w again", errNotFetched),
		"Use the old ones with: cpc scan --offline --max-age 0 IMAGE\n"+advisoriesHint)
)

func notFetched(err error, missing bool) error {
	switch {
	case errors.Is(err, context.Canceled):
		return err
	case missing:
		return fmt.Errorf("%w: %w", errNotFetched, err)
	}
	return fmt.Errorf("%w: %w", errNotFetchedAgain, err)
}

// errNoAdvisories reports that nothing can be said of an image.
var errNoAdvisories = hint.New("no advisories",
	"Run once without --offline to download them, or use --db PATH.")

func printFindings(cmd *cobra.Command, l listing, result *sbom.Result, packages int) error {
	for _, p := range result.Problems {
		fmt.Fprintln(stderr(), "cpc scan: warning:", p)
	}
	for _, e := range result.Unchecked {
		fmt.Fprintf(stderr(), "cpc scan: warning: no advisory for %s: its packages are not checked\n", e)
	}
	err := printRows(cmd.OutOrStdout(), l, []column{
		{"SEVERITY", "{{.Severity}}"},
		{"ADVISORY", "{{.ID}}"},
		{"PACKAGE", "{{.Package}}"},
		{"VERSION", "{{.Version}}"},
		{"FIXED IN", "{{.Fixed}}"},
		{"ECOSYSTEM", "{{.Ecosystem}}"},
	}, result.Findings)
	fmt.Fprintf(stderr(), "cpc scan: %d packages, %d advisories looked at, %d hold\n", packages, result.Records, len(result.Findings))
	return err
}
