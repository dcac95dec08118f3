// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package layer

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/idmap"
)

// Names that stand for removals in a layer (OCI image-spec, layer.md).
const (
	whPrefix = ".wh."
	whOpaque = ".wh..wh..opq"
	// whMeta starts further names that aufs left in old layers.
	whMeta = ".wh..wh."
)

// opaqueName is the attribute by which overlayfs, mounted by this caller,
// knows a directory that hides the one below.
func opaqueName(m idmap.Mapping) string {
	if m.Mode == idmap.Root {
		return "trusted.overlay.opaque"
	}
	return "user.overlay.opaque"
}

// isWhiteout tells overlayfs's own form of a removed name.
func isWhiteout(st *unix.Stat_t) bool {
	return st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0
}

// belowWhiteout reports whether a directory of a layer has a name that stands for
// a removal.
func belowWhiteout(dir string) bool {
	return strings.HasPrefix(dir, whPrefix) || strings.Contains(dir, "/"+whPrefix)
}

// belowMeta lets what aufs left in its own directories pass, which no other
// program has looked at for years; nothing else can be below a whiteout.
func belowMeta(dir string) error {
	for part := range strings.SplitSeq(dir, "/") {
		if strings.HasPrefix(part, whMeta) {
			return nil
		}
	}
	return errors.New("name below a whiteout")
}

func (u *unpacker) markOpaque(fd int) error {
	if err := unix.Fsetxattr(fd, u.opaque, []byte("y"), 0); err != nil {
		return fmt.Errorf("mark directory as opaque (%s): %w", u.opaque, err)
	}
	return nil
}

// whiteout applies an entry that removes something of the layers below. It
// never removes what this layer brings itself, before or after.
func (u *unpacker) whiteout(at int, base string) error {
	if base == whOpaque {
		return u.markOpaque(at)
	}
	if strings.HasPrefix(base, whMeta) {
		return nil
	}
	base = strings.TrimPrefix(base, whPrefix)
	if base == "" || base == "." || base == ".." {
		return errors.New("malformed whiteout")
	}
	err := unix.Mknodat(at, base, unix.S_IFCHR, 0)
	if !errors.Is(err, unix.EEXIST) {
		return err
	}
	fd, err := openDir(at, base)
	if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return nil // a file of this layer hides the one below anyway
	}
	if err != nil {
		return err
	}
	return errors.Join(u.markOpaque(fd), unix.Close(fd))
}
