// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import "github.com/claude-pocket-console/cpc/internal/idmap"

// MountOptions are the options of Mount.
type MountOptions struct {
	// Layers are the lower directories, bottom first.
	Layers []Layer
	// Scratch is where upper and work directory are made, Target where the
	// merged tree is mounted.
	Scratch, Target string
	Mapping         idmap.Mapping
	// StoreUpper: the upper directory holds store ids, so that it can become
	// a layer. As root it is mounted idmapped then, as the layers are.
	StoreUpper bool
	// Volatile skips syncing: for what does not outlive the sandbox.
	Volatile bool
}

// Mounted is a mounted root file system. Root is the merged tree, Upper what
// was changed in it.
type Mounted struct {
	Root, Upper string
}

// Mount mounts an overlay.
func Mount(o MountOptions) (*Mounted, error) { return nil, errNotWritten }

// Close unmounts it.
func (m *Mounted) Close() error { return errNotWritten }
