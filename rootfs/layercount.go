// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"

	"github.com/claude-pocket-console/cpc/rootfs/store"
)

// An archive may list its images after their layers. An image with too many
// layers is refused where its manifest or configuration is read first: before
// anything is copied if the archive can be read twice, and as soon as the
// document comes otherwise.

// maxCounted bounds the documents that are looked at ahead, in bytes.
const maxCounted = 64 << 20

// layerCounter looks at the documents of an archive.
type layerCounter struct{ seen int64 }

// file returns what looks at a file of that name while it is written.
func (l *layerCounter) file(name string) *countedFile {
	return &countedFile{of: l, list: path.Clean("/"+name) == "/"+dockerManifestFile}
}

// countedFile keeps what could be a document, and nothing else.
type countedFile struct {
	of    *layerCounter
	list  bool // docker's list of images
	data  []byte
	begun bool
	other bool // no document
}

// Write implements io.Writer.
func (c *countedFile) Write(p []byte) (int, error) {
	if !c.begun && len(p) > 0 {
		c.begun = true
		c.other = p[0] != '{' && p[0] != '['
	}
	if !c.other {
		c.of.seen += int64(len(p))
		c.other = len(c.data)+len(p) > store.MaxDocument || c.of.seen > maxCounted
	}
	if c.other {
		c.data = nil
	} else {
		c.data = append(c.data, p...)
	}
	return len(p), nil
}

// check refuses a document that says more layers than an image may have. What
// cannot be read is left to who needs it.
func (c *countedFile) check() error {
	if c.other || len(c.data) == 0 {
		return nil
	}
	type parts struct {
		SchemaVersion int
		Config        json.RawMessage
		Layers        []json.RawMessage
		RootFS        struct {
			DiffIDs []json.RawMessage `json:"diff_ids"`
		}
	}
	var all []parts
	var err error
	if c.list {
		err = json.Unmarshal(c.data, &all)
	} else {
		all = make([]parts, 1)
		err = json.Unmarshal(c.data, &all[0])
	}
	if err != nil {
		return nil //nolint:nilerr // it may be no document of an image
	}
	for _, p := range all {
		n := len(p.RootFS.DiffIDs)
		if c.list || p.SchemaVersion == 2 && p.Config != nil {
			n = max(n, len(p.Layers))
		}
		if n > store.MaxLayers {
			return fmt.Errorf("%d layers: at most %d are supported", n, store.MaxLayers)
		}
	}
	return nil
}

// countAhead reads the documents of an archive, if that can be read twice and is
// not compressed, and goes back to where it was.
func countAhead(ctx context.Context, r io.Reader) (err error) {
	f, ok := r.(io.ReadSeeker)
	if !ok {
		return nil
	}
	start, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return nil // a pipe
	}
	defer func() {
		_, back := f.Seek(start, io.SeekStart)
		err = errors.Join(err, back)
	}()
	var l layerCounter
	tr := tar.NewReader(f)
	for n := 0; n < maxArchiveFiles && ctx.Err() == nil; n++ {
		hdr, err := tr.Next()
		if err != nil {
			return nil // what is wrong with it is said when it is read
		}
		if hdr.Typeflag != tar.TypeReg || hdr.Size > store.MaxDocument {
			continue
		}
		if err := l.look(tr, hdr.Name); err != nil {
			return fmt.Errorf("read archive: %s: %w", path.Clean("/" + hdr.Name)[1:], err)
		}
	}
	return nil
}

// countDir is countAhead for an OCI image layout in a directory.
func countDir(ctx context.Context, root *os.Root) error {
	var l layerCounter
	return fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || ctx.Err() != nil {
			return ctx.Err() // what is wrong with it is said when it is read
		}
		if info, err := d.Info(); err != nil || info.Size() > store.MaxDocument {
			return ctx.Err()
		}
		f, err := root.Open(name)
		if err != nil {
			return ctx.Err()
		}
		defer f.Close()
		if err := l.look(f, name); err != nil {
			return fmt.Errorf("read layout: %s: %w", name, err)
		}
		return nil
	})
}

// look reads a file of an archive, of which it needs no more than the start if
// that is no document's.
func (l *layerCounter) look(r io.Reader, name string) error {
	var first [1]byte
	if _, err := io.ReadFull(r, first[:]); err != nil {
		return nil //nolint:nilerr // empty, or it ends too early
	}
	c := l.file(name)
	if _, err := c.Write(first[:]); err != nil || c.other {
		return err
	}
	var rest bytes.Buffer
	if _, err := rest.ReadFrom(r); err != nil {
		return nil //nolint:nilerr // said when it is read
	}
	if _, err := c.Write(rest.Bytes()); err != nil {
		return err
	}
	return c.check()
}
