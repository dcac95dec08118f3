// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Package rootfs is what is done with images: it finds them by name, moves them
// between a store, registries and archives, and mounts them as root file systems.
//
// The store itself, on disk, is package rootfs/store: its directories, locks and
// durability. Everything that comes into a store goes by way of a store.Batch, and
// this package knows neither a path nor a lock of it.
//
// Code here runs as uid 0: of the host, or of a user namespace that maps the
// user's ids (U0); Mount in a mount namespace of its own. A Store may be used
// by several goroutines, a directory by several processes.
package rootfs
