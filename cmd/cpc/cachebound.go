// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"time"

	units "github.com/docker/go-units"
	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/visible"
	"github.com/claude-pocket-console/cpc/rootfs/store"
)

// cacheChanged is when the build cache changed last. What cannot be known, a build will find out.
func cacheChanged(a *app) time.Time {
	images, err := a.inside.store()
	if err != nil {
		return time.Time{}
	}
	defer images.Close()
	return store.CacheChanged(images.Store)
}

// boundCache keeps the build cache within its bound after a build that has added
// to it, and says what was dropped. The build has ended well or not; a cache that
// cannot be bounded is a warning.
func boundCache(ctx context.Context, a *app, before time.Time, quiet bool) {
	limit, err := cacheLimit(a)
	if err != nil || limit == 0 || ctx.Err() != nil {
		return // an error of the configuration has been told by the build
	}
	images, err := a.inside.store()
	if err != nil {
		return
	}
	defer images.Close()
	if store.CacheChanged(images.Store).Equal(before) {
		return
	}
	d, err := store.BoundCache(ctx, images.Store, limit)
	size := func(n int64) string { return units.HumanSize(float64(n)) }
	if d.Steps+d.Mounts > 0 && !quiet {
		fmt.Fprintf(stderr(), "The build cache has a bound of %s. Dropped, the longest unused first: results of %d steps, %d cache mounts (%s).\nSet the bound in config.toml: [build] cache-size = \"20GB\"\n",
			size(limit), d.Steps, d.Mounts, size(d.Freed))
	}
	if err != nil {
		fmt.Fprintln(stderr(), "WARNING:", visible.Error(err))
	}
}

// cacheLimit is the bound in bytes; the user's file goes before the administrator's.
func cacheLimit(a *app) (int64, error) {
	c, err := a.configuration()
	if err != nil {
		return 0, err
	}
	var st unix.Statfs_t
	if err := unix.Statfs(a.inside.Dirs.Data, &st); err != nil {
		return 0, err
	}
	set := c.User.Build.CacheSize
	if set == nil {
		set = c.System.Build.CacheSize
	}
	return set.Of(int64(st.Blocks) * st.Frsize), nil
}
