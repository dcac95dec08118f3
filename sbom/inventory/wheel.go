// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package inventory

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	cpb "github.com/google/osv-scalibr/binary/proto/config_go_proto"
	"github.com/google/osv-scalibr/extractor/filesystem"
	"github.com/google/osv-scalibr/extractor/filesystem/language/python/wheelegg"
	found "github.com/google/osv-scalibr/inventory"
)

// Bounds of one archive of Python's.
const (
	maxMembers  = 1000
	maxMetadata = 1 << 20
)

// wheels reads Python's metadata. Of an archive (a wheel or an egg) it reads every
// package, also those after one that cannot be read, where the extractor itself
// stops at the first such: Debian's wheel of setuptools has an empty PKG-INFO.
type wheels struct{ filesystem.Extractor }

func newWheels(config *cpb.PluginConfig) (filesystem.Extractor, error) {
	e, err := wheelegg.New(config)
	return wheels{e}, err
}

// Extract implements filesystem.Extractor.
func (w wheels) Extract(ctx context.Context, in *filesystem.ScanInput) (found.Inventory, error) {
	switch ext := path.Ext(in.Path); {
	case ext == ".whl" || ext == ".egg":
		return w.members(ctx, in)
	case in.Info != nil && in.Info.Size() == 0:
		return found.Inventory{}, nil // it names no package
	}
	return w.Extractor.Extract(ctx, in)
}

// members reads the metadata files of an archive as if they were unpacked.
func (w wheels) members(ctx context.Context, in *filesystem.ScanInput) (all found.Inventory, err error) {
	at, ok := in.Reader.(io.ReaderAt)
	if !ok || in.Info == nil {
		return all, errors.New("the archive cannot be read at random")
	}
	archive, err := zip.NewReader(at, in.Info.Size())
	if err != nil {
		return all, err
	}
	var first error
	read, failed := 0, 0
	for _, f := range archive.File {
		if ctx.Err() != nil {
			return all, context.Cause(ctx)
		}
		name := strings.ToLower(f.Name)
		if !f.Mode().IsRegular() || strings.HasSuffix(name, ".whl") || strings.HasSuffix(name, ".egg") ||
			!w.FileRequired(fileAPI{f.Name, fs.FileInfoToDirEntry(f.FileInfo())}) {
			continue
		}
		if read++; read > maxMembers {
			return all, fmt.Errorf("more than %d packages", maxMembers)
		}
		one, err := w.member(ctx, f)
		if err != nil {
			if failed++; failed == 1 {
				first = fmt.Errorf("%q: %w", f.Name, err)
			}
		}
		all.Packages = append(all.Packages, one.Packages...)
	}
	if failed > 1 {
		first = fmt.Errorf("%w, and %d more files", first, failed-1)
	}
	return all, first
}

func (w wheels) member(ctx context.Context, f *zip.File) (one found.Inventory, err error) {
	r, err := f.Open()
	if err != nil {
		return one, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	return w.Extract(ctx, &filesystem.ScanInput{Path: f.Name, Info: f.FileInfo(), Reader: io.LimitReader(r, maxMetadata)})
}
