// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Package idmap says which user and group ids stand for which: in an image, on
// disk, in the user namespace that cpc works in (U0), and in a sandbox (U1).
//
// It is pure: it computes mappings and applies none. Ids are those that the
// calling process sees, so a process inside U0 uses U0's ids.
package idmap

import (
	"fmt"

	"github.com/claude-pocket-console/cpc/internal/hint"
)

// Size is the number of ids a sandbox has: 0 to 65535, as in the host.
const Size = 65536

// ErrOutside reports an id of an image that no sandbox can have.
var ErrOutside = hint.New("outside of the ids that an image may use",
	"Give the file another owner where the image is built: COPY --chown=USER, or chown in a RUN step.")

// Mode is how the ids of a sandbox are backed on this host.
type Mode string

const (
	// Root: cpc runs as root in the host's user namespace. Layers keep image
	// ids on disk; every sandbox has an unprivileged range of its own and
	// sees the layers through idmapped mounts.
	Root Mode = "root"
	// Mapped: an ordinary user with a subordinate range. U0 maps 0 to the
	// user and 1 to 65536 to the range; image id N is U0 id N+1 on disk.
	Mapped Mode = "mapped"
	// Single: an ordinary user without a range, or without newuidmap. Only
	// one id exists; ownership on disk is all the user's, and a sandbox's
	// only id is 0.
	Single Mode = "single"
)

// Mapping is one id mapping of the process that unpacks, mounts and starts.
// The zero value is not valid; use ForRoot, ForMapped or ForSingle.
type Mapping struct {
	Mode Mode `json:"mode"`
	// Base is the id, in the caller's user namespace, of sandbox id 0.
	Base uint32 `json:"base"`
	// Size is how many sandbox ids are mapped: Size, or 1 in Single mode.
	Size uint32 `json:"size"`
}

// ForRoot returns the mapping of a sandbox whose ids are base to base+65535.
func ForRoot(base uint32) Mapping { return Mapping{Mode: Root, Base: base, Size: Size} }

// ForMapped returns the mapping used inside U0 with a subordinate range.
func ForMapped() Mapping { return Mapping{Mode: Mapped, Base: 1, Size: Size} }

// ForSingle returns the mapping used inside U0 when only one id is mapped.
func ForSingle() Mapping { return Mapping{Mode: Single, Base: 0, Size: 1} }

// ToStore returns the id that a file of an unpacked layer has on disk when the
// image says id, as the caller sees it. In Single mode that is always 0.
// An id that cannot be represented is an error.
func (m Mapping) ToStore(id uint32) (uint32, error) {
	if m.Mode == Single {
		return 0, nil
	}
	if id >= m.Size {
		return 0, fmt.Errorf("id %d: %w, 0 to %d", id, ErrOutside, m.Size-1)
	}
	if m.Mode == Root {
		return id, nil
	}
	return m.Base + id, nil
}

// FromStore is the inverse of ToStore: the image id of a file on disk in the
// store. In Single mode every file is the image's root.
func (m Mapping) FromStore(id uint32) (uint32, error) {
	switch {
	case m.Mode == Single:
		return 0, nil
	case m.Mode == Root && id < m.Size:
		return id, nil
	case m.Mode == Mapped && id >= m.Base && id-m.Base < m.Size:
		return id - m.Base, nil
	}
	return 0, fmt.Errorf("id %d on disk: outside of the range of the store (%s mode)", id, m.Mode)
}

// ToCaller returns the id, in the caller's user namespace, of sandbox id: what
// a file must be owned by for the sandbox to see it as id's.
func (m Mapping) ToCaller(id uint32) (uint32, error) {
	if id >= m.Size {
		return 0, fmt.Errorf("id %d: the sandbox has only %d mapped ids (%s mode)", id, m.Size, m.Mode)
	}
	return m.Base + id, nil
}

// FromCaller returns which id of the image an id is that this process sees in
// a mounted root file system: the inverse of ToCaller.
func (m Mapping) FromCaller(id uint32) (uint32, error) {
	if m.NeedsIDMappedLayers() {
		if id < m.Base || id-m.Base >= m.Size {
			return 0, fmt.Errorf("id %d: not one of the sandbox's", id)
		}
		return id - m.Base, nil
	}
	return m.FromStore(id)
}

// NeedsIDMappedLayers reports whether layers must be mounted with ids 0 to
// Size-1 shifted to Base: true where disk ids and sandbox ids differ.
func (m Mapping) NeedsIDMappedLayers() bool { return m.Mode == Root && m.Base != 0 }
