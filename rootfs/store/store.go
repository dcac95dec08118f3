// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/atomicfile"
	"github.com/claude-pocket-console/cpc/internal/filelock"
	"github.com/claude-pocket-console/cpc/internal/idmap"
	"github.com/claude-pocket-console/cpc/rootfs/layer"
)

// Options says where a store is and how ids are backed in it.
type Options struct {
	// Dir is the store's directory; made, with mode 0700, if it is missing.
	Dir string
	// Mapping is that of the calling process.
	Mapping idmap.Mapping
	// Limits bound what a layer may unpack to.
	Limits layer.Limits
	// Warn, if set, is told what could not be kept when layers are unpacked
	// or packed, for example an attribute that the kernel refuses.
	Warn func(string)
	// Progress, if set, is told how the unpacking of layers goes on, one event at
	// a time. Pull and Load have theirs among their own options.
	Progress func(Event)
}

// Store is one image store. Its methods may be called concurrently, also by
// several processes.
type Store struct {
	places
	buildCache
	scratchSpace
	o Options
	// reached, if set by a test, is told of each step by which something comes in.
	reached func(step string)

	mu sync.Mutex
	// held is the shared gc lock taken by HoldUntilClose.
	held *filelock.Lock
}

// Open opens the store in o.Dir, creating it on first use, and removes what
// interrupted work left in it.
func Open(o Options) (*Store, error) {
	if o.Mapping.Size == 0 {
		return nil, errors.New("open store: no id mapping given")
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	variant, err := variantOf(o.Mapping)
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", dir, err)
	}
	o.Dir = dir
	at := places{dir, variant}
	s := &Store{places: at, buildCache: buildCache{at, o.Mapping}, scratchSpace: scratchSpace{at}, o: o}
	if OnReadOnly(dir) {
		return openReadOnly(s)
	}
	if err := s.lay(); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	if err := s.sweepTmp(); err != nil {
		return nil, fmt.Errorf("open store %s: remove unfinished work: %w", dir, err)
	}
	return s, nil
}

// step says that something comes in so far.
func (s *Store) step(name string) {
	if s.reached != nil {
		s.reached(name)
	}
}

// lay makes what is missing of the store's directories and of the OCI layout.
func (s *Store) lay() error {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	// Layers hold set-id files of images, as root even root's own: nobody
	// else may get at them, whatever the mode of the directory was.
	if err := os.Chmod(s.dir, 0o700); err != nil {
		return err
	}
	dirs := []string{blobDir, "layers/" + s.variant, "cache/" + s.variant, "scratch", "tmp", "locks"}
	for _, d := range dirs {
		if err := os.MkdirAll(s.path(d), 0o700); err != nil {
			return err
		}
	}
	if err := s.reserve(); err != nil && !NoRoom(err) {
		return err
	}
	layout := s.path("oci", v1.ImageLayoutFile)
	if _, err := os.Stat(layout); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	lock, err := filelock.Acquire(context.Background(), s.path("locks/index"), filelock.Exclusive)
	if err != nil {
		return err
	}
	if _, err = os.Stat(s.path("oci", v1.ImageIndexFile)); errors.Is(err, os.ErrNotExist) {
		err = s.writeIndex(NewIndex())
	}
	if err == nil {
		err = atomicfile.Write(layout, []byte(`{"imageLayoutVersion":"`+v1.ImageLayoutVersion+`"}`))
	}
	return errors.Join(err, lock.Close())
}

// variantOf names how files are owned on disk, which unpacked layers cannot
// be shared across: the mode and, with a subordinate range, where it starts.
func variantOf(m idmap.Mapping) (string, error) {
	if m.Mode != idmap.Mapped {
		return string(m.Mode), nil
	}
	data, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(data)) {
		var inside, outside, size uint32
		if _, err := fmt.Sscan(line, &inside, &outside, &size); err != nil {
			return "", fmt.Errorf("parse uid_map: %w", err)
		}
		if m.Base >= inside && m.Base-inside < size {
			return fmt.Sprintf("%s-%d", m.Mode, outside+m.Base-inside), nil
		}
	}
	return "", fmt.Errorf("id %d is not mapped in this user namespace", m.Base)
}

// Options are those that the store was opened with; Dir is absolute.
func (s *Store) Options() Options { return s.o }

// Variant names how files of unpacked layers are owned, which they cannot be shared
// across.
func (s *Store) Variant() string { return s.variant }

// Close gives up the locks that the store holds.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held == nil {
		return nil
	}
	l := s.held
	s.held = nil
	return l.Close()
}

// HoldUntilClose keeps anything from being collected until Close: what this process
// makes is not referred to yet, and it alone knows for how long.
func (s *Store) HoldUntilClose(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held != nil {
		return nil
	}
	l, err := s.lockGC(ctx)
	if err == nil {
		s.held = l
	}
	return err
}

func (s *Store) lockGC(ctx context.Context) (*filelock.Lock, error) {
	return filelock.Acquire(ctx, s.path("locks/gc"), filelock.Shared)
}

// syncfs makes everything in the store's file system durable. Layers are many
// small files: one call for all is what is affordable.
func (s *Store) syncfs() error {
	d, err := os.Open(s.dir)
	if err != nil {
		return err
	}
	return errors.Join(unix.Syncfs(int(d.Fd())), d.Close())
}
