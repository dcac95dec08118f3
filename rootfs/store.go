// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"errors"
	"fmt"

	"github.com/claude-pocket-console/cpc/internal/hint"
	"github.com/claude-pocket-console/cpc/rootfs/store"
)

// Sentinels that callers branch on.
var (
	// ErrNotFound: no image of that name or id is in the store, or in the
	// registry that was asked.
	ErrNotFound = store.ErrNotFound
	// ErrCorrupt: what is on disk or arrived is not what its digest says.
	ErrCorrupt = store.ErrCorrupt
	// ErrIndex: the list of the store's images is lost. It is ErrCorrupt, too.
	ErrIndex = store.ErrIndex
	// ErrInUse: a running sandbox or a build uses the image.
	ErrInUse = store.ErrInUse
	// ErrArrival: what came from a registry is not what was promised. It is
	// ErrCorrupt, too.
	ErrArrival = store.ErrArrival
	// ErrSeveralNames: an image cannot be removed by its id, without force.
	ErrSeveralNames = errors.New("it has several names")
	// ErrMember: an image belongs to one for several platforms, and goes with it.
	ErrMember = errors.New("it is not an image by itself")
	// ErrNotInRegistry: the registry has no such image, or does not show it.
	// It is ErrNotFound, too.
	ErrNotInRegistry = hint.Beside(fmt.Errorf("%w in the registry", ErrNotFound),
		"Check the name. List the tags of the repository with: cpc search REPOSITORY")
	// ErrNoPlatform: the image is there, for other platforms. It is
	// ErrNotFound, too.
	ErrNoPlatform = hint.Beside(fmt.Errorf("%w for this platform", ErrNotFound),
		"Use a platform that the image has, with: --platform OS/ARCH. It runs by emulation.")
	// ErrNoImage: the registry has something of that name, but no image that
	// can be run.
	ErrNoImage = errors.New("it is not an image that can be run")
	// ErrUnreachable: the registry could not be reached at all.
	ErrUnreachable = hint.New("registry unreachable",
		"Check the name and the network. Without a network, import a tar with: cpc import FILE IMAGE")
	// ErrNoRegistry: the host answers, and is no registry.
	ErrNoRegistry = hint.New("there is no registry of images at this address",
		"Check the host and the port in the name of the image.")
	// ErrFailing: the registry answers that it cannot do what it should.
	ErrFailing = hint.New("the registry has a fault",
		"Try again later, or set a mirror in config.toml; see docs/registry.md.")
	// ErrIncomplete: the registry has the image, but does not give all its parts.
	ErrIncomplete = hint.New("the image in the registry is not complete",
		"The image must be pushed again. Or set a mirror in config.toml; see docs/registry.md.")
	// ErrSentAway: a registry sends one on to an address that is not the public
	// internet's, nor of the registry's own network.
	ErrSentAway = hint.New("the registry sends one to a private address",
		"If the storage or the token server of the registry is there, add that host to config.toml:\n  [registries.\"HOST:PORT\"]\nSee docs/registry.md.")
	// ErrUntrusted: the registry is there, but it cannot be known that it is
	// the right one. It is ErrUnreachable, too.
	ErrUntrusted = hint.Beside(fmt.Errorf("%w in a way that can be trusted", ErrUnreachable),
		"Set its certificate authority (ca = \"FILE\") or, if you accept the risk, set it as insecure in config.toml:\n  [registries.\"HOST:PORT\"]\n  insecure = true\nSee docs/registry.md.")
)

// What is in a store, and what is said of it, has the same names here.
type (
	// Image is one image of a store.
	Image = store.Image
	// Config is an image's configuration.
	Config = store.Config
	// Healthcheck is docker's.
	Healthcheck = store.Healthcheck
	// DockerConfig are the fields that docker adds to "config".
	DockerConfig = store.DockerConfig
	// LayerDescriptor is a layer that is in the store as a blob.
	LayerDescriptor = store.LayerDescriptor
	// Layer is one unpacked layer.
	Layer = store.Layer
	// Artifact is something that is kept about an image.
	Artifact = store.Artifact
	// CacheEntry is the result of one build step.
	CacheEntry = store.CacheEntry
	// CorruptError says which blob is not what its digest says.
	CorruptError = store.CorruptError
	// Event tells how a transfer, or the unpacking of layers, goes on.
	Event = store.Event
	// Unpacking sums up the events of layers that are unpacked.
	Unpacking = store.Unpacking
	// Finding is one thing that Check found wrong.
	Finding = store.Finding
	// Options says where a store is and how ids are backed in it.
	Options = store.Options
	// CacheMount is a directory that outlives builds.
	CacheMount = store.CacheMount
	// CacheSharing says what happens when two build steps want one cache mount.
	CacheSharing = store.CacheSharing
)

// The values of CacheSharing that Dockerfiles know.
const (
	CacheShared  = store.CacheShared
	CachePrivate = store.CachePrivate
	CacheLocked  = store.CacheLocked
)

// Store is an image store, and what is done with images: moving them between the
// store, registries and archives, finding them by name, and removing them.
type Store struct{ *store.Store }

// Open opens the store in o.Dir; see store.Open.
func Open(o Options) (*Store, error) {
	s, err := store.Open(o)
	if err != nil {
		return nil, err
	}
	return &Store{s}, nil
}
