// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"fmt"

	"github.com/claude-pocket-console/cpc/internal/hint"
)

// Sentinels that callers branch on.
var (
	// ErrNotFound: no image of that name or id is in the store, or in the
	// registry that was asked.
	ErrNotFound = hint.New("no such image",
		"List the images with: cpc images. Pull one with: cpc pull IMAGE, or build one with: cpc build")
	// ErrCorrupt: what is on disk or arrived is not what its digest says.
	ErrCorrupt = hint.New("corrupt",
		"Remove the image with: cpc rmi IMAGE, then pull, import or build it again.")
	// ErrIndex: the list of the store's images is lost. It is ErrCorrupt, too.
	ErrIndex = hint.Beside(fmt.Errorf("%w: image index", ErrCorrupt),
		"Rebuild the list of images (without names) with: cpc system check --repair")
	// ErrInUse: a running sandbox or a build uses the image.
	ErrInUse = hint.New("image is in use",
		"Stop the sandbox that uses it first. List the sandboxes with: cpc ps")
	// ErrArrival: what came from a registry is not what was promised. It is
	// ErrCorrupt, too.
	ErrArrival = hint.Beside(fmt.Errorf("%w on arrival", ErrCorrupt),
		"Try again. If the error persists, the image in the registry is damaged and must be pushed again.")
)
