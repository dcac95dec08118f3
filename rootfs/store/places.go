// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"path/filepath"

	"github.com/opencontainers/go-digest"
)

// blobDir is where blobs are.
const blobDir = "oci/blobs/sha256"

// places says where everything is in a store.
type places struct {
	dir     string
	variant string
}

func (p places) path(parts ...string) string {
	return filepath.Join(append([]string{p.dir}, parts...)...)
}

func (p places) blobPath(d digest.Digest) string { return p.path(blobDir, d.Encoded()) }

func (p places) layerDir(diffID digest.Digest) string {
	return p.path("layers", p.variant, diffID.Encoded())
}

func (p places) cachePath(key digest.Digest) string {
	return p.path("cache", p.variant, key.Encoded()+".json")
}

func (p places) imageLock(d digest.Digest) string { return p.path("locks", "image-"+d.Encoded()) }

func (p places) layerLock(d digest.Digest) string { return p.path("locks", "layer-"+d.Encoded()) }

func (p places) unpackLock(diffID digest.Digest) string {
	return p.path("locks", "unpack-"+diffID.Encoded())
}
