// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"errors"
	"fmt"
)

// Sentinels that callers branch on.
var (
	// ErrNotFound: no image of that name or id is in the store, or in the
	// registry that was asked.
	ErrNotFound = errors.New("no such image")
	// ErrCorrupt: what is on disk or arrived is not what its digest says.
	ErrCorrupt = errors.New("corrupt")
	// ErrIndex: the list of the store's images is lost. It is ErrCorrupt, too.
	ErrIndex = fmt.Errorf("%w: image index", ErrCorrupt)
	// ErrInUse: a running sandbox or a build uses the image.
	ErrInUse = errors.New("image is in use")
	// ErrArrival: what came from a registry is not what was promised. It is
	// ErrCorrupt, too.
	ErrArrival = fmt.Errorf("%w on arrival", ErrCorrupt)
)
