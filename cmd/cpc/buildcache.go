// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/claude-pocket-console/cpc/build"
	"github.com/claude-pocket-console/cpc/build/dockerfile"
	"github.com/claude-pocket-console/cpc/rootfs"
)

// cachePlace is a value of --cache-from or --cache-to.
type cachePlace struct {
	kind, dir, ref string
	// all: steps of other stages than the result's, too (mode=max).
	all bool
	// lenient: that it cannot be written is no error.
	lenient bool
}

// parseCache reads type=local,src|dest=DIR, type=registry,ref=NAME and type=inline. A name
// alone is a registry's. ok is false for types that are left alone with a
// warning: a cache is no promise, and the store has one anyway.
func parseCache(flag, value string) (p cachePlace, ok bool, err error) {
	if !strings.Contains(value, "=") {
		return cachePlace{kind: "registry", ref: value}, true, nil
	}
	fields, err := csvFields(value)
	if err != nil {
		return p, false, err
	}
	for _, f := range fields {
		switch f[0] {
		case "type":
			p.kind = f[1]
		case "src", "dest":
			p.dir = f[1]
		case "ref":
			p.ref = f[1]
		case "mode":
			if f[1] != "min" && f[1] != "max" {
				return p, false, fmt.Errorf("mode=%s: choose min or max", f[1])
			}
			p.all = f[1] == "max"
		case "ignore-error":
			if p.lenient, err = strconv.ParseBool(f[1]); err != nil {
				return p, false, fmt.Errorf("ignore-error=%s: choose true or false", f[1])
			}
		}
	}
	switch p.kind {
	case "local":
		if p.dir == "" {
			return p, false, errors.New("src or dest is missing")
		}
		p.dir, err = filepath.Abs(p.dir)
		return p, true, err
	case "registry":
		if p.ref == "" {
			return p, false, errors.New("ref is missing")
		}
		_, err = rootfs.ParseReference(p.ref)
		return p, true, err
	case "inline":
		return p, flag == "cache-to", nil
	}
	fmt.Fprintf(stderr(), "WARNING: --%s %s: only the types local, registry and inline are supported; the store's own cache is used\n", flag, value)
	return p, false, nil
}

func parseCaches(flag string, given []string) ([]cachePlace, error) {
	var out []cachePlace
	for _, value := range given {
		p, ok, err := parseCache(flag, value)
		if err != nil {
			return nil, usageError{fmt.Errorf("--%s %s: %w", flag, value, err)}
		}
		if ok {
			out = append(out, p)
		}
	}
	return out, nil
}

// importCaches reads --cache-from. One that is not there is no error, as in
// docker: the first build of many has none.
func (a buildCommands) importCaches(ctx context.Context, f *buildFlags, o *build.Options) (err error) {
	if f.cachesTo, err = parseCaches("cache-to", f.cacheTo); err != nil {
		return err
	}
	o.InlineCache = o.Args[dockerfile.InlineCacheArg] == "1"
	for _, to := range f.cachesTo {
		o.InlineCache = o.InlineCache || to.kind == "inline"
	}
	o.Used = &f.used
	from, err := parseCaches("cache-from", f.cacheFrom)
	if err != nil {
		return err
	}
	for _, p := range from {
		if p.kind == "local" {
			err = o.Store.ImportCache(ctx, p.dir)
		} else {
			err = a.openCache(ctx, o, p.ref)
		}
		if err != nil {
			fmt.Fprintln(stderr(), "WARNING:", err)
		}
	}
	return nil
}

func (a buildCommands) openCache(ctx context.Context, o *build.Options, ref string) error {
	client, err := a.registryClient(tellStderr)
	if err != nil {
		return err
	}
	c, err := o.Store.OpenCache(ctx, ref, rootfs.PullOptions{Client: client})
	if err == nil {
		o.Caches = append(o.Caches, c)
	}
	return err
}

// exportCaches writes --cache-to: mode=min what the images are made of, max all.
func (a buildCommands) exportCaches(ctx context.Context, f *buildFlags, o *build.Options, images []*rootfs.Image) error {
	for _, to := range f.cachesTo {
		if to.kind == "inline" {
			continue
		}
		err := a.exportCache(ctx, f, o, to, images)
		if err != nil && !to.lenient {
			return err
		}
		if err != nil {
			fmt.Fprintln(stderr(), "WARNING:", err)
		}
	}
	return nil
}

func (a buildCommands) exportCache(ctx context.Context, f *buildFlags, o *build.Options, to cachePlace, images []*rootfs.Image) error {
	if to.all {
		images = nil
	}
	entries, err := o.Store.CacheList(f.used, images)
	if err != nil {
		return err
	}
	if to.kind == "local" {
		return o.Store.ExportCache(ctx, to.dir, entries)
	}
	client, err := a.registryClient(tellStderr)
	if err != nil {
		return err
	}
	return o.Store.PushCache(ctx, to.ref, entries, client)
}
