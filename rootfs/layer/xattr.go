// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package layer

import (
	"fmt"
	"strings"

	"github.com/claude-pocket-console/cpc/internal/inode"
)

// attributes returns the attributes of an open file that belong to a layer, and
// whether it is an opaque directory.
func attributes(fd int, opaqueAttr string) (kept map[string]string, opaque bool, err error) {
	kept, names, err := inode.Attributes(fd)
	if err != nil {
		return nil, false, err
	}
	for _, name := range names {
		switch {
		case name == opaqueAttr:
			value, err := inode.Attribute(fd, name)
			if err != nil {
				return nil, false, err
			}
			opaque = value == "y"
		case strings.HasSuffix(name, ".overlay.redirect"), strings.HasSuffix(name, ".overlay.metacopy"):
			return nil, false, fmt.Errorf("attribute %s: the overlay was not mounted by this program", name)
		}
	}
	return kept, opaque, nil
}
