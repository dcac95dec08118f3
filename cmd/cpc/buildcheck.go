// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/claude-pocket-console/cpc/build"
	"github.com/claude-pocket-console/cpc/build/dockerfile"
	"github.com/claude-pocket-console/cpc/rootfs"
)

// called reports whether the build is to be checked only: --check, --call=check.
func (f *buildFlags) called() (check bool, err error) {
	switch f.call {
	case "", "build":
		return f.check, nil
	case "check", "lint":
		return true, nil
	}
	return false, usageError{fmt.Errorf("--call %s: choose build or check", f.call)}
}

// configTime is how long a registry may take to say what a base image sets.
const configTime = 30 * time.Second

// checkOnly prints what the checks find; that there is something is a failure.
// Of base images that are not here it asks their registries for the configurations.
func (a buildCommands) checkOnly(ctx context.Context, o *build.Options) error {
	o.BaseConfig = func(ctx context.Context, ref string, platform v1.Platform) (rootfs.Config, error) {
		client, err := a.registryClient(tellStderr)
		if err != nil {
			return rootfs.Config{}, err
		}
		ctx, stop := context.WithTimeout(ctx, configTime)
		defer stop()
		return rootfs.RemoteConfig(ctx, ref, rootfs.PullOptions{Client: client, Platform: &platform})
	}
	o.Progress = build.PlainProgress(os.Stderr)
	found, err := build.Check(ctx, *o)
	if err != nil {
		return err
	}
	slices.SortStableFunc(found, func(a, b dockerfile.Finding) int { return a.Line - b.Line })
	if err := printChecks(stdout(), found); err != nil {
		return err
	}
	if len(found) > 0 {
		return exitStatus(1)
	}
	return nil
}

// printChecks is docker's form of them.
func printChecks(w io.Writer, found []dockerfile.Finding) error {
	var b strings.Builder
	switch len(found) {
	case 0:
		b.WriteString("Check complete, no warnings found.\n")
	case 1:
		b.WriteString("Check complete, 1 warning has been found!\n")
	default:
		fmt.Fprintf(&b, "Check complete, %d warnings have been found!\n", len(found))
	}
	for _, f := range found {
		fmt.Fprintf(&b, "\nWARNING: %s", f.Rule)
		if f.URL != "" {
			b.WriteString(" - " + f.URL)
		}
		fmt.Fprintf(&b, "\n%s\n%s", f.Message, f.File)
		if f.Line > 0 {
			fmt.Fprintf(&b, ":%d", f.Line)
		}
		fmt.Fprintf(&b, "\n%s", f.Excerpt)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
