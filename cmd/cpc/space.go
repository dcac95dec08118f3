// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/dirs"
)

// spaceHint says what to do about a write that found no room. Images are in the
// way of cpc's own files only, not of what a person's output goes to.
func spaceHint(err error) string {
	full := "The disk is full"
	switch {
	case errors.Is(err, unix.ENOSPC):
	case errors.Is(err, unix.EROFS):
		return readOnlyHint(err)
	case errors.Is(err, unix.EDQUOT):
		full = "Your disk quota is used up"
	default:
		return ""
	}
	path := pathOf(err)
	switch {
	case path == os.Stdout.Name() || path == os.Stderr.Name():
		return "What the output goes to has no room for it."
	case path == "" || ownPath(path):
		return full + ": free some space; cpc rmi removes images that are not needed."
	}
	if !filepath.IsAbs(path) { // a person's file, or one in a layer
		return full + ": free some space."
	}
	return full + ": free some space where " + path + " is."
}

// readOnlyHint says what can be done with a store that is mounted read-only.
func readOnlyHint(err error) string {
	if path := pathOf(err); path == "" || !ownPath(path) {
		return ""
	}
	return "The data directory is on a read-only file system. Its images can be listed, inspected, saved and exported.\nSandboxes, pulls and builds need a writable one: name it with CPC_DATA_DIR, and copy images there with cpc save and cpc load."
}

// pathOf is the file that an error is about, "" if it does not say.
func pathOf(err error) string {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Path
	}
	if e, ok := errors.AsType[*os.LinkError](err); ok {
		return e.New
	}
	return ""
}

// ownPath reports whether cpc keeps its own files there. A directory that is
// open goes by its descriptor.
func ownPath(path string) bool {
	d, err := dirs.Find()
	if err != nil || strings.HasPrefix(path, "/proc/") {
		return true
	}
	for _, own := range []string{d.Data, d.State} {
		if rest, err := filepath.Rel(own, path); err == nil && filepath.IsLocal(rest) {
			return true
		}
	}
	return false
}
