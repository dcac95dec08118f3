// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/claude-pocket-console/cpc/internal/dockerflag"
	"github.com/claude-pocket-console/cpc/rootfs"
	"github.com/claude-pocket-console/cpc/sandbox"
	"github.com/claude-pocket-console/cpc/sandbox/record"
)

type sandboxTest = func(*record.Record) bool

// filterSources are where filters look what their values name.
type filterSources struct {
	// built returns the digests of the manifests of an image and of all images
	// that are built on it. Nil: by name only.
	built func(image string) map[string]bool
	// created says when a sandbox was made.
	created func(name string) (time.Time, error)
}

// filterSources looks in the caller's store and among the caller's sandboxes.
func (a sandboxCommands) filterSources(ctx context.Context, e *sandbox.Engine) filterSources {
	return filterSources{
		built: func(image string) (digests map[string]bool) {
			// That the store cannot be read leaves the names.
			_ = a.withStore(func(store *rootfs.Store) error {
				digests = builtOn(ctx, store, image)
				return nil
			})
			return digests
		},
		created: func(name string) (time.Time, error) {
			entry, err := e.Set.Find(name)
			if err != nil {
				return time.Time{}, err
			}
			return entry.Record.Created, nil
		},
	}
}

func builtOn(ctx context.Context, store *rootfs.Store, name string) map[string]bool {
	base, err := store.Image(ctx, name)
	if err != nil {
		return nil
	}
	digests := map[string]bool{base.Digest.String(): true}
	layers := base.Config.RootFS.DiffIDs
	all, _ := store.Images(ctx) // damaged ones are not what anything runs on
	for _, img := range all {
		have := img.Config.RootFS.DiffIDs
		if len(layers) > 0 && len(have) >= len(layers) && slices.Equal(have[:len(layers)], layers) {
			digests[img.Digest.String()] = true
		}
	}
	return digests
}

// parseFilters makes a test of all filters as docker does: of one key any must
// hold, but of labels all; of several keys each.
func parseFilters(filters []string, from filterSources) (sandboxTest, error) {
	tests := map[string][]sandboxTest{}
	for _, f := range filters {
		key, value, ok := strings.Cut(f, "=")
		if !ok {
			return nil, fmt.Errorf("--filter %q: must be KEY=VALUE", f)
		}
		test, err := filterTest(key, value, from)
		if err != nil {
			return nil, fmt.Errorf("--filter %q: %w", f, err)
		}
		if strings.HasPrefix(key, "label") {
			key = f
		}
		tests[key] = append(tests[key], test)
	}
	return func(r *record.Record) bool {
		for _, some := range tests {
			if !slices.ContainsFunc(some, func(t sandboxTest) bool { return t(r) }) {
				return false
			}
		}
		return true
	}, nil
}

// wantsEnded reports whether a filter is about sandboxes that do not run, which
// docker then shows without --all.
func wantsEnded(filters []string) bool {
	return slices.ContainsFunc(filters, func(f string) bool {
		return strings.HasPrefix(f, "status=") || strings.HasPrefix(f, "exited=")
	})
}

func filterTest(key, value string, from filterSources) (sandboxTest, error) {
	switch key {
	case "name":
		pattern, err := regexp.Compile(value)
		if err != nil {
			return nil, errors.New("must be a regular expression")
		}
		return func(r *record.Record) bool { return pattern.MatchString(r.Name) || pattern.MatchString("/"+r.Name) }, nil
	case "id":
		return func(r *record.Record) bool { return strings.HasPrefix(r.ID, value) }, nil
	case "ancestor":
		return ancestorTest(value, from), nil
	case "label":
		return labelTest(value), nil
	case "label!":
		has := labelTest(value)
		return func(r *record.Record) bool { return !has(r) }, nil
	case "before", "since":
		if from.created == nil {
			break
		}
		at, err := from.created(value)
		if err != nil {
			return nil, err
		}
		return func(r *record.Record) bool {
			return key == "before" && r.Created.Before(at) || key == "since" && r.Created.After(at)
		}, nil
	}
	return stateTest(key, value)
}

// stateTest is of what a sandbox does and has.
func stateTest(key, value string) (sandboxTest, error) {
	never := func(*record.Record) bool { return false }
	switch key {
	case "status":
		if !slices.Contains([]string{"created", "restarting", "running", "removing", "paused", "exited", "dead"}, value) {
			return nil, errors.New("must be created, running, paused, exited or dead")
		}
		return func(r *record.Record) bool { return string(r.Status) == value }, nil
	case "exited":
		code, err := strconv.Atoi(value)
		if err != nil {
			return nil, errors.New("must be an exit status, such as exited=0")
		}
		return func(r *record.Record) bool { return r.Status == record.Exited && r.Outcome.ExitCode == code }, nil
	case "network":
		if name, _, err := networkNamed(value); err == nil {
			value = name
		}
		return func(r *record.Record) bool { return value != "" && r.Asked.Options.Network == value }, nil
	case "health":
		if !slices.Contains([]string{"starting", "healthy", "unhealthy", "none"}, value) {
			return nil, errors.New("must be starting, healthy, unhealthy or none")
		}
		return func(*record.Record) bool { return value == "none" }, nil
	case "is-task":
		task, err := strconv.ParseBool(value)
		if err != nil {
			return nil, errors.New("must be true or false")
		}
		return func(*record.Record) bool { return !task }, nil
	case "expose":
		ports, err := dockerflag.ParseExpose(value)
		if err != nil {
			return nil, err
		}
		return func(r *record.Record) bool {
			return slices.ContainsFunc(ports, func(p string) bool { return slices.Contains(r.Asked.Options.Expose, p) })
		}, nil
	case "volume", "publish", "isolation": // no sandbox has any
		return never, nil
	}
	return nil, errors.New("unknown key, choose name, id, status, exited, ancestor, label, before, since, network or health")
}

func labelTest(value string) sandboxTest {
	name, want, valued := strings.Cut(value, "=")
	return func(r *record.Record) bool {
		got, has := r.Asked.Labels[name]
		return has && (!valued || got == want)
	}
}

// ancestorTest is of sandboxes of an image, by its name as it was given, and of
// those of all images built on it, by what the store says.
func ancestorTest(value string, from filterSources) sandboxTest {
	want, err := rootfs.ParseReference(value)
	var built map[string]bool
	if from.built != nil {
		built = from.built(value)
	}
	return func(r *record.Record) bool {
		if r.Asked.Image == value || r.Asked.ImageDigest == value || built[r.Asked.ImageDigest] {
			return true
		}
		got, gotErr := rootfs.ParseReference(r.Asked.Image)
		return err == nil && gotErr == nil && got == want
	}
}
