// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

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
		if sbom.IsURL(db) && f.offline {
			return 0, 0, fmt.Errorf("--db %s: cannot be fetched with --offline", db)
		}
	}
	return failOn, maxAge, nil
}

// scan looks the inventory up and prints what was found.
func (a contentCommands) scan(cmd *cobra.Command, f *scanFlags, l listing, packages []sbom.Package) error {
	failOn, maxAge, err := f.parse()
	if err != nil {
		return usageError{err}
	}
	from := sbom.Advisories{
		Dir: filepath.Join(a.inside.Dirs.Data, "osv"), From: f.db, Offline: f.offline, MaxAge: maxAge,
		Tell: func(line string) { fmt.Fprintln(stderr(), "cpc scan:", line) },
	}
	paths, err := from.Files(cmd.Context(), sbom.Ecosystems(packages))
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
	if err := from.CheckAge(result); err != nil {
		return err
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

func (f *scanFlags) ignored(x sbom.Finding) bool {
	return slices.ContainsFunc(f.ignore, func(id string) bool { return id == x.ID || slices.Contains(x.Aliases, id) })
}

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
