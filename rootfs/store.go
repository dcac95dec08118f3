// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"context"
	"errors"
	"io"

	"github.com/claude-pocket-console/cpc/internal/idmap"
	"github.com/opencontainers/go-digest"
)

var errNotWritten = errors.New("not written yet")

// Sentinels that callers branch on.
var (
	// ErrNotFound: no image of that name or id is in the store.
	ErrNotFound = errors.New("no such image")
	// ErrCorrupt: what is on disk or arrived is not what its digest says.
	ErrCorrupt = errors.New("corrupt")
	// ErrInUse: a running sandbox or a build uses the image.
	ErrInUse = errors.New("image is in use")
	// ErrUnreachable: the registry could not be reached at all.
	ErrUnreachable = errors.New("registry unreachable")
)

// Options says where a store is and how ids are backed in it.
type Options struct {
	Dir     string
	Mapping idmap.Mapping
}

// Store is one image store. Its methods may be called concurrently, also by
// several processes.
type Store struct {
	dir     string
	mapping idmap.Mapping
}

// Open opens the store in o.Dir, creating it on first use.
func Open(o Options) (*Store, error) { return &Store{dir: o.Dir, mapping: o.Mapping}, errNotWritten }

// Close gives up the locks that the store holds.
func (s *Store) Close() error { return errNotWritten }

// Hold keeps everything in the store from being collected until release.
func (s *Store) Hold() (release func(), err error) { return nil, errNotWritten }

// Use keeps the image and its layers from being removed until release.
func (s *Store) Use(img *Image) (release func(), err error) { return nil, errNotWritten }

// Image returns the image that ref names: a name, name@digest or id prefix.
func (s *Store) Image(ctx context.Context, ref string) (*Image, error) { return nil, errNotWritten }

// Images returns all images of the store, newest first.
func (s *Store) Images(ctx context.Context) ([]*Image, error) { return nil, errNotWritten }

// Tag gives the image that src names the further name dst.
func (s *Store) Tag(ctx context.Context, src, dst string) error { return errNotWritten }

// Remove removes a name, and the image with its last name.
func (s *Store) Remove(ctx context.Context, ref string) (removed []string, err error) {
	return nil, errNotWritten
}

// ImportOptions says what the image of an imported file tree is like.
type ImportOptions struct {
	// Config replaces the default configuration (PATH and a shell).
	Config *Config
	// Comment goes into the image's history.
	Comment string
}

// Import makes an image of one layer from a tar stream, as it is or compressed.
func (s *Store) Import(ctx context.Context, r io.Reader, ref string, o ImportOptions) (*Image, error) {
	return nil, errNotWritten
}

// Event is one step of progress of a Pull or of unpacking.
type Event struct {
	Action string        // "resolve", "download", "exists", "done"
	Digest digest.Digest // of the blob concerned
	Done   int64         // bytes so far
	Total  int64         // bytes in all; 0 where it is not known
}

// PullOptions are the options of Pull.
type PullOptions struct {
	Progress func(Event)
	// Insecure lists registry hosts that may be spoken to over plain HTTP.
	Insecure []string
}

// Pull fetches an image from a registry.
func (s *Store) Pull(ctx context.Context, ref string, o PullOptions) (*Image, error) {
	return nil, errNotWritten
}

// Layer is one unpacked layer.
type Layer struct {
	DiffID digest.Digest
	Dir    string
}

// Layers makes sure that every layer of the image is unpacked; bottom first.
func (s *Store) Layers(ctx context.Context, img *Image) ([]Layer, error) { return nil, errNotWritten }

// NewScratch creates the scratch directory of id.
func (s *Store) NewScratch(id string) (dir string, err error) { return "", errNotWritten }

// RemoveScratch removes the scratch directory of id.
func (s *Store) RemoveScratch(id string) error { return errNotWritten }
