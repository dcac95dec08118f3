// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package files

import (
	"bufio"
	"context"
	"io"
	"os"
	"path/filepath"

	"github.com/claude-pocket-console/cpc/rootfs/layer"
)

// Local is a file or directory of the caller's own.
type Local struct {
	Path   string
	Follow bool // what a symbolic link at its end leads to
	// KeepOwner gives what comes out of a sandbox the owners that it has there.
	KeepOwner bool
}

// IsContents says whether a path means what is in a directory.
func IsContents(path string) bool {
	dir, base, _ := split(path)
	return base == "" && filepath.Base(dir) != ".."
}

// Source says what there is to copy.
func (l Local) Source() (Source, error) {
	p, err := tree{}.find(l.Path, l.Follow)
	if err != nil {
		return Source{}, err
	}
	defer p.dir.Close()
	if err := p.copyable(); err != nil {
		return Source{}, &os.PathError{Op: "copy", Path: l.Path, Err: err}
	}
	return source(l.Path, Found{Dir: p.isDir(), Base: p.name}), nil
}

// source is what was found by a name.
func source(path string, f Found) Source {
	switch {
	case !f.Dir:
		return Source{Kind: File, Base: f.Base}
	case f.Base == "." || IsContents(path):
		return Source{Kind: Contents, Base: "."}
	}
	return Source{Kind: Directory, Base: f.Base}
}

// Pack writes it as a tar.
func (l Local) Pack(ctx context.Context, w io.Writer) error {
	return Tar(w, func(w io.Writer) error {
		return tree{}.send(ctx, w, &Order{Path: l.Path, Follow: l.Follow}, layer.PackOptions{Live: true, KeepIDs: true})
	})
}

// Unpack writes what a helper sends for a path of a sandbox.
func (l Local) Unpack(ctx context.Context, r io.Reader, path string) error {
	in := bufio.NewReader(r)
	f, err := ReadFound(in)
	if err != nil {
		return err
	}
	into := layer.Into{Own: !l.KeepOwner, Harmless: true}
	return tree{}.receive(ctx, in, &Order{Path: l.Path, Source: source(path, f)}, into)
}
