// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/claude-pocket-console/cpc/build"
)

// cacheDir reads type=local,src=DIR or dest=DIR. Other types are warned about:
// a cache is no promise, and the store has one anyway.
func cacheDir(flag, value string) (string, error) {
	if !strings.Contains(value, "=") {
		fmt.Fprintf(os.Stderr, "WARNING: --%s %s: only type=local is supported; the store's own cache is used\n", flag, value)
		return "", nil
	}
	fields, err := csvFields(value)
	if err != nil {
		return "", err
	}
	kind, dir := "", ""
	for _, f := range fields {
		switch f[0] {
		case "type":
			kind = f[1]
		case "src", "dest":
			dir = f[1]
		}
	}
	switch {
	case kind != "local":
		fmt.Fprintf(os.Stderr, "WARNING: --%s %s: only type=local is supported; the store's own cache is used\n", flag, value)
		return "", nil
	case dir == "":
		return "", errors.New("src or dest is missing")
	}
	return filepath.Abs(dir)
}

// importCaches reads --cache-from. One that is not there is no error, as in
// docker: the first build of many has none.
func (f *buildFlags) importCaches(ctx context.Context, o *build.Options) error {
	for _, value := range f.cacheFrom {
		dir, err := cacheDir("cache-from", value)
		if err != nil {
			return usageError{fmt.Errorf("--cache-from %s: %w", value, err)}
		}
		if dir == "" {
			continue
		}
		if err := o.Store.ImportCache(ctx, dir); err != nil {
			fmt.Fprintln(os.Stderr, "WARNING:", err)
		}
	}
	if len(f.cacheTo) > 0 {
		o.Used = func(key digest.Digest) { f.used = append(f.used, key) }
	}
	return nil
}

// exportCaches writes --cache-to.
func (f *buildFlags) exportCaches(ctx context.Context, o *build.Options) error {
	for _, value := range f.cacheTo {
		dir, err := cacheDir("cache-to", value)
		if err != nil {
			return usageError{fmt.Errorf("--cache-to %s: %w", value, err)}
		}
		if dir == "" {
			continue
		}
		if err := o.Store.ExportCache(ctx, dir, f.used); err != nil {
			return err
		}
	}
	return nil
}
