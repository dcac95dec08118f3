// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/claude-pocket-console/cpc/rootfs"
)

// imageTest says whether an image, under one of its names, is wanted.
type imageTest func(img *rootfs.Image, name string) bool

// parseImageFilters makes a test of all filters, which must all hold, but for
// several references, of which one is enough.
func parseImageFilters(ctx context.Context, store *rootfs.Store, filters []string) (imageTest, error) {
	var tests []imageTest
	var references []string
	for _, f := range filters {
		key, value, ok := strings.Cut(f, "=")
		negate := strings.HasSuffix(key, "!")
		key = strings.TrimSuffix(key, "!")
		if !ok {
			return nil, usageError{fmt.Errorf("--filter %q: must be KEY=VALUE", f)}
		}
		if key == "reference" && !negate {
			references = append(references, value)
			continue
		}
		test, err := imageFilter(ctx, store, key, value)
		if err != nil {
			return nil, fmt.Errorf("--filter %q: %w", f, err)
		}
		if negate {
			plain := test
			test = func(img *rootfs.Image, name string) bool { return !plain(img, name) }
		}
		tests = append(tests, test)
	}
	if len(references) > 0 {
		tests = append(tests, func(_ *rootfs.Image, name string) bool {
			return slices.ContainsFunc(references, func(p string) bool { return matchReference(p, name) })
		})
	}
	return func(img *rootfs.Image, name string) bool {
		return !slices.ContainsFunc(tests, func(t imageTest) bool { return !t(img, name) })
	}, nil
}

func imageFilter(ctx context.Context, store *rootfs.Store, key, value string) (imageTest, error) {
	switch key {
	case "dangling":
		want, err := strconv.ParseBool(value)
		if err != nil {
			return nil, usageError{fmt.Errorf("must be true or false")}
		}
		return func(img *rootfs.Image, _ string) bool { return (len(img.Names) == 0) == want }, nil
	case "reference":
		return func(_ *rootfs.Image, name string) bool { return matchReference(value, name) }, nil
	case "id":
		value = strings.TrimPrefix(value, "sha256:")
		return func(img *rootfs.Image, _ string) bool { return strings.HasPrefix(img.ConfigDigest.Encoded(), value) }, nil
	case "label":
		name, want, valued := strings.Cut(value, "=")
		return func(img *rootfs.Image, _ string) bool {
			got, has := img.Config.Config.Labels[name]
			return has && (!valued || got == want)
		}, nil
	case "before", "since":
		other, err := store.Image(ctx, value)
		if err != nil {
			return nil, err
		}
		return func(img *rootfs.Image, _ string) bool {
			a, b := img.Config.Created, other.Config.Created
			if a == nil || b == nil || img.Digest == other.Digest {
				return false
			}
			return a.Before(*b) == (key == "before") && !a.Equal(*b)
		}, nil
	case "until":
		limit, err := parseUntil(value, time.Now())
		if err != nil {
			return nil, usageError{err}
		}
		return func(img *rootfs.Image, _ string) bool {
			return img.Config.Created == nil || img.Config.Created.Before(limit)
		}, nil
	}
	return nil, usageError{fmt.Errorf("unknown key, choose dangling, reference, label, id, before, since or until")}
}

// parseUntil understands a duration before now, a date, or seconds since 1970.
func parseUntil(value string, now time.Time) (time.Time, error) {
	if d, err := time.ParseDuration(value); err == nil {
		return now.Add(-d), nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, value, time.Local); err == nil {
			return t, nil
		}
	}
	if n, err := strconv.ParseInt(value, 10, 64); err == nil {
		return time.Unix(n, 0), nil
	}
	return time.Time{}, fmt.Errorf("must be a duration such as 24h, or a time such as 2026-01-31T12:00:00Z")
}

// matchReference reports whether a name is meant by a pattern as docker has
// them: of the familiar name, with or without its tag.
func matchReference(pattern, name string) bool {
	for _, whole := range []string{rootfs.Familiar(name), name, strings.TrimPrefix(name, "docker.io/")} {
		repository, _ := rootfs.SplitTag(whole)
		for _, candidate := range []string{whole, repository} {
			if ok, err := path.Match(pattern, candidate); err == nil && ok {
				return true
			}
		}
	}
	return false
}
