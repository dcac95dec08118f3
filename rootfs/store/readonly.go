// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"errors"
	"fmt"
	"os"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"
)

// OnReadOnly reports whether a store is on a file system that is mounted read-only. It
// can be read then: images are listed, inspected and saved, and those whose layers
// are unpacked can be looked into. Anything else is EROFS. Locks on what is
// used are shared ones, which need no new file there (see filelock); somebody
// who has the same store writable elsewhere may remove what is being read.
func OnReadOnly(dir string) bool { return errors.Is(unix.Access(dir, unix.W_OK), unix.EROFS) }

// openReadOnly finds out whether there is a store at all.
func openReadOnly(s *Store) (*Store, error) {
	if _, err := os.Stat(s.path("oci", v1.ImageLayoutFile)); err != nil {
		return nil, fmt.Errorf("open store: %s is on a read-only file system and has no store yet: %w", s.dir, err)
	}
	return s, nil
}
