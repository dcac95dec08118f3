// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Command cpc-scan reads images' files and security advisories for cpc, which
// starts it: package sbom says why it is a program of its own. It takes one
// request from its standard input and can do no more than read what that names.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/landlock-lsm/go-landlock/landlock"
	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/visible"
	"github.com/claude-pocket-console/cpc/sbom"
	"github.com/claude-pocket-console/cpc/sbom/inventory"
	"github.com/claude-pocket-console/cpc/sbom/osv"
)

func main() {
	if len(os.Args) > 1 {
		fmt.Fprintln(os.Stderr, "cpc-scan: it takes no arguments; cpc sbom and cpc scan start it")
		os.Exit(2)
	}
	if err := sbom.Serve(os.Stdin, os.Stdout, confine, answer); err != nil {
		fmt.Fprintln(os.Stderr, "cpc-scan:", visible.Error(err))
		os.Exit(1)
	}
}

// confine leaves this process reading below paths, and nothing else that the
// kernel can refuse: no write, no network, no other file (landlock, as far as
// the kernel has it), no privilege by exec, bounded files and time.
func confine(paths []string) error {
	const cpuSeconds, files = 900, 256
	for resource, n := range map[int]uint64{unix.RLIMIT_CPU: cpuSeconds, unix.RLIMIT_NOFILE: files, unix.RLIMIT_FSIZE: 0, unix.RLIMIT_CORE: 0} {
		if err := unix.Setrlimit(resource, &unix.Rlimit{Cur: n, Max: n}); err != nil {
			return fmt.Errorf("limit %d: %w", resource, err)
		}
	}
	rules := make([]landlock.Rule, 0, len(paths))
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		if info.IsDir() {
			rules = append(rules, landlock.RODirs(path))
		} else {
			rules = append(rules, landlock.ROFiles(path))
		}
	}
	return landlock.V8.BestEffort().Restrict(rules...)
}

func answer(request sbom.Request) (sbom.Response, error) {
	ctx := context.Background()
	if m := request.Match; m != nil {
		result, err := osv.Match(ctx, m.Packages, m.Paths...)
		return sbom.Response{Result: &result}, err
	}
	root, err := os.OpenRoot(".")
	if err != nil {
		return sbom.Response{}, err
	}
	found, err := inventory.Scan(ctx, root.FS())
	if err != nil {
		return sbom.Response{}, err
	}
	spdx, err := inventory.SPDX(found, *request.Inventory)
	if err != nil {
		return sbom.Response{}, err
	}
	cyclonedx, err := inventory.CycloneDX(found, *request.Inventory)
	return sbom.Response{Inventory: &found, SPDX: spdx, CycloneDX: cyclonedx}, err
}
