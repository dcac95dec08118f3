// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Package layer turns image layers (tar streams) into directories that
// overlayfs takes as lower layers, and upper directories into tar streams.
//
// # Theory of operation
//
// Unpack treats the stream as hostile. The target directory is opened once;
// every parent is looked up from that descriptor by openat2(2) with
// RESOLVE_IN_ROOT, so the kernel itself resolves "..", absolute names and
// symbolic links inside of the target, and the last component of a name is
// only ever used with calls that do not follow links. Nothing else may change
// the target meanwhile: it is a private directory until the caller renames it.
//
// A whiteout ".wh.x" becomes a character device 0/0, ".wh..wh..opq" an
// attribute of its directory; Pack does the reverse. Which attribute depends
// on who mounts: "user.overlay.opaque" inside a user namespace (mount option
// userxattr), "trusted.overlay.opaque" for root.
//
// Both run as uid 0 with the capabilities that matter, of the host or of a
// user namespace that maps the ids of the store. They hold no locks.
package layer
