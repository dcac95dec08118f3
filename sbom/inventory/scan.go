// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Package inventory finds out what software an image contains, and writes it
// down (SPDX, CycloneDX). It runs in cpc-scan.
//
// It reads the files that package managers leave (dpkg, apk, Python, npm) and
// what compilers record in programs (Go, Rust), with osv-scalibr's extractors.
// All of these files are the image's, hence hostile: they are opened below one
// directory only, symbolic links are not followed out of it, number, size and
// time are bounded, and an extractor that fails or panics costs its file and is
// reported in the inventory's notes.
package inventory

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/google/osv-scalibr/extractor"
	"github.com/google/osv-scalibr/extractor/filesystem"

	"github.com/claude-pocket-console/cpc/sbom"
)

// Bounds of one inventory.
const (
	maxFiles    = 2_000_000
	maxFileSize = 512 << 20 // of a file that is parsed
	maxPackages = 200_000
	maxNotes    = 100
	maxTime     = 10 * time.Minute
)

// Scan makes the inventory of the files below root, which must not lead out of
// the image: os.Root.FS is such a one.
func Scan(ctx context.Context, root fs.FS) (sbom.Inventory, error) {
	silence()
	extractors, err := newExtractors()
	if err != nil {
		return sbom.Inventory{}, err
	}
	full, ok := root.(readFS)
	if !ok {
		return sbom.Inventory{}, fmt.Errorf("scan: a %T cannot list directories", root)
	}
	ctx, stop := context.WithTimeout(ctx, maxTime)
	defer stop()
	s := &scan{root: full, extractors: extractors, found: map[string]*sbom.Package{}}
	if err := fs.WalkDir(full, ".", func(path string, d fs.DirEntry, err error) error {
		return s.visit(ctx, path, d, err)
	}); err != nil {
		return sbom.Inventory{}, fmt.Errorf("scan: %w", err)
	}
	return s.inventory(), nil
}

// readFS is what extractors want of a file system.
type readFS interface {
	fs.FS
	fs.ReadDirFS
	fs.StatFS
}

// scan is an inventory being made.
type scan struct {
	root       readFS
	extractors []filesystem.Extractor
	files      int
	found      map[string]*sbom.Package // by name, version and package URL
	notes      []string
	unnoted    int
}

func (s *scan) note(format string, args ...any) {
	if len(s.notes) == maxNotes {
		s.unnoted++
		return
	}
	s.notes = append(s.notes, fmt.Sprintf(format, args...))
}

// visit reads one file if an extractor wants it.
func (s *scan) visit(ctx context.Context, path string, d fs.DirEntry, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		s.note("%q: %v", path, err)
		if d != nil && d.IsDir() {
			return fs.SkipDir
		}
		return nil
	}
	if s.files++; s.files > maxFiles {
		return fmt.Errorf("more than %d files", maxFiles)
	}
	if !d.Type().IsRegular() { // opening a pipe would wait for ever
		return nil
	}
	for _, e := range s.extractors {
		if err := s.extract(ctx, e, path, d); err != nil {
			s.note("%q: %s: %v", path, e.Name(), err)
		}
	}
	if len(s.found) > maxPackages {
		return fmt.Errorf("more than %d packages", maxPackages)
	}
	return nil
}

// extract has e read the file, if it wants to.
func (s *scan) extract(ctx context.Context, e filesystem.Extractor, path string, d fs.DirEntry) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	if !e.FileRequired(fileAPI{path, d}) {
		return nil
	}
	info, err := d.Info()
	if err != nil {
		return err
	}
	if info.Size() > maxFileSize {
		return fmt.Errorf("%d bytes are more than %d", info.Size(), maxFileSize)
	}
	f, err := s.root.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	found, err := e.Extract(ctx, &filesystem.ScanInput{FS: s.root, Path: path, Info: info, Reader: f})
	for _, p := range found.Packages {
		s.add(p, path)
	}
	return err
}

func (s *scan) add(p *extractor.Package, path string) {
	if p == nil || p.Name == "" {
		return
	}
	q := convert(p)
	key := q.Name + "\x00" + q.Version + "\x00" + q.PURL
	have, ok := s.found[key]
	if !ok {
		have = &q
		s.found[key] = have
	}
	if !slices.Contains(have.Locations, path) {
		have.Locations = append(have.Locations, path)
	}
}

func (s *scan) inventory() sbom.Inventory {
	inv := sbom.Inventory{Packages: make([]sbom.Package, 0, len(s.found)), Notes: s.notes}
	if s.unnoted > 0 {
		inv.Notes = append(inv.Notes, fmt.Sprintf("%d more files could not be read", s.unnoted))
	}
	for _, p := range s.found {
		slices.Sort(p.Locations)
		inv.Packages = append(inv.Packages, *p)
	}
	slices.SortFunc(inv.Packages, func(a, b sbom.Package) int {
		return cmp.Or(cmp.Compare(a.PURL, b.PURL), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Version, b.Version))
	})
	return inv
}

// fileAPI shows a file to an extractor that has not been opened.
type fileAPI struct {
	path string
	d    fs.DirEntry
}

func (f fileAPI) Path() string               { return f.path }
func (f fileAPI) Stat() (fs.FileInfo, error) { return f.d.Info() }
