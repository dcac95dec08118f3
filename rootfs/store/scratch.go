// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"fmt"
	"os"
	"strings"

	"github.com/claude-pocket-console/cpc/rootfs/layer"
)

// scratchSpace holds the upper and work directories of what runs.
type scratchSpace struct{ at places }

// NewScratch creates the scratch directory of id, which must be new.
func (s scratchSpace) NewScratch(id string) (dir string, err error) {
	if err := checkScratchID(id); err != nil {
		return "", err
	}
	dir = s.at.path("scratch", id)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", fmt.Errorf("new scratch: %w", err)
	}
	return dir, nil
}

// RemoveScratch removes the scratch directory of id with all that is in it; it
// is no error if there is none. Nothing may be mounted from it any more.
func (s scratchSpace) RemoveScratch(id string) error {
	if err := checkScratchID(id); err != nil {
		return err
	}
	if err := layer.Remove(s.at.path("scratch", id)); err != nil {
		return fmt.Errorf("remove scratch %s: %w", id, err)
	}
	return nil
}

// Scratches returns the ids that have a scratch directory.
func (s scratchSpace) Scratches() ([]string, error) {
	entries, err := os.ReadDir(s.at.path("scratch"))
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, e := range entries {
		// A removal that was cut short left ID.rm; RemoveScratch finishes it.
		id := strings.TrimSuffix(e.Name(), ".rm")
		if len(ids) == 0 || ids[len(ids)-1] != id {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

func checkScratchID(id string) error {
	ok := id != "" && len(id) <= 128 && id[0] != '.' && !strings.HasSuffix(id, ".rm")
	for _, c := range []byte(id) {
		ok = ok && (c == '-' || c == '_' || c == '.' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z')
	}
	if !ok {
		return fmt.Errorf("scratch id %q: letters, digits and -_. only", id)
	}
	return nil
}
