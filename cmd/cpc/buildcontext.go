// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/claude-pocket-console/cpc/build"
	"github.com/claude-pocket-console/cpc/build/dockerfile"
)

// context finds the context and the Dockerfile: a directory, or what has to be
// fetched first.
func (f *buildFlags) context(ctx context.Context, from *build.ContextSource, name string, o *build.Options) error {
	if f.file == "-" && name == "-" {
		return usageError{errors.New("standard input cannot be both the context and the Dockerfile")}
	}
	if isDirectory(name) {
		var err error
		if o.ContextDir, err = filepath.Abs(name); err != nil || f.file == "" || f.file == "-" {
			o.Dockerfile = f.file
			return err
		}
		if info, err := os.Stat(f.file); err == nil && !info.Mode().IsRegular() && !info.IsDir() {
			// A pipe is read as standard input is: once.
			if o.Stdin, err = os.Open(f.file); err != nil {
				return fmt.Errorf("-f %s: %w", f.file, err)
			}
			o.Dockerfile = "-"
			return nil
		}
		o.Dockerfile, err = filepath.Abs(f.file)
		return err
	}
	busy := working("Reading the build context", f.silent())
	defer busy.end()
	got, err := from.Get(ctx, name)
	if err != nil {
		return err
	}
	o.ContextDir, o.Dockerfile = got.Dir, f.file
	if got.Dockerfile != nil {
		if f.file != "" {
			return usageError{fmt.Errorf("-f %s: the context is a Dockerfile, not an archive", f.file)}
		}
		o.Dockerfile, o.Stdin = "-", got.Dockerfile
		return nil
	}
	o.InContext = f.file != "-"
	return nil
}

func isDirectory(name string) bool {
	if !build.IsLocal(name) {
		return false
	}
	info, err := os.Stat(name)
	return err == nil && info.IsDir()
}

// inputs reads the flags that give a build more than its context, and returns
// the paths that must stay visible to it.
func (f *buildFlags) inputs(ctx context.Context, from *build.ContextSource, o *build.Options) ([]string, error) {
	var sockets, dirs []string
	var err error
	if o.Secrets, err = secrets(f.secrets); err != nil {
		return nil, err
	}
	if o.Agents, sockets, err = agents(f.ssh); err != nil {
		return nil, err
	}
	if o.Contexts, dirs, err = namedContexts(ctx, from, f.contexts); err != nil {
		return nil, err
	}
	o.Network, o.AllowHostNetwork, err = stepNetwork(f.network, f.allow)
	return slices.Concat(sockets, dirs), err
}

// namedContexts reads --build-context NAME=DIR|URL|docker-image://IMAGE|
// oci-layout://DIR[:TAG|@DIGEST].
func namedContexts(ctx context.Context, from *build.ContextSource, given []string) (out map[string]dockerfile.Context, dirs []string, err error) {
	out = map[string]dockerfile.Context{}
	for _, g := range given {
		name, value, ok := strings.Cut(g, "=")
		if !ok || name == "" || value == "" {
			return nil, nil, fmt.Errorf("--build-context %q: must be NAME=DIRECTORY, a URL, docker-image://IMAGE or oci-layout://DIRECTORY", g)
		}
		c, err := namedContext(ctx, from, value)
		if err != nil {
			return nil, nil, fmt.Errorf("--build-context %s: %w", name, err)
		}
		if c.Dir != "" {
			dirs = append(dirs, c.Dir)
		}
		out[strings.ToLower(name)] = c
	}
	return out, dirs, nil
}

func namedContext(ctx context.Context, from *build.ContextSource, value string) (c dockerfile.Context, err error) {
	if image, ok := strings.CutPrefix(value, "docker-image://"); ok {
		return dockerfile.Context{Image: image}, nil
	}
	if layout, ok := strings.CutPrefix(value, "oci-layout://"); ok {
		dir, which, _ := strings.Cut(layout, "@")
		if i := strings.LastIndexByte(dir, ':'); which == "" && i > strings.LastIndexByte(dir, '/') {
			dir, which = dir[:i], dir[i+1:]
		}
		img, err := from.Store.LoadFrom(ctx, dir, which)
		if err != nil {
			return c, err
		}
		return dockerfile.Context{Image: img.ConfigDigest.String()}, nil
	}
	if isDirectory(value) {
		c.Dir, err = filepath.Abs(value)
		return c, err
	}
	got, err := from.Get(ctx, value)
	if err != nil {
		return c, err
	}
	if got.Dockerfile != nil {
		return c, errors.New("it is not an archive")
	}
	return dockerfile.Context{Dir: got.Dir}, nil
}
