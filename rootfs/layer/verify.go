// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package layer

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
)

// Verify compares an unpacked layer with the tar stream that it was unpacked from,
// which is not compressed. It returns what is missing or has another type, target
// or content; nothing if the layer is whole. Owners, modes and attributes are not
// compared, nor is what has come in addition.
func Verify(ctx context.Context, r io.Reader, dir string, l Limits) (damage []string, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	v := &verifier{root: root, bad: make(map[string]string), buf: make([]byte, 64<<10)}
	tr := tar.NewReader(&boundedReader{ctx: ctx, r: r, limit: l.withDefaults().Bytes})
	for {
		hdr, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = v.entry(hdr, tr)
		}
		if err != nil {
			return nil, err
		}
	}
	for name, problem := range v.bad {
		damage = append(damage, quote(name)+": "+problem)
	}
	slices.Sort(damage)
	return damage, nil
}

// verifier holds what is wrong by the entries so far. A later entry of the same
// name, or one that takes the name away, has the last word.
type verifier struct {
	root *os.Root
	bad  map[string]string
	buf  []byte
}

func (v *verifier) entry(hdr *tar.Header, content io.Reader) error {
	name, err := cleanName(hdr.Name)
	if err != nil || name == "." || hdr.Typeflag == tar.TypeXGlobalHeader {
		return nil //nolint:nilerr // it was not unpacked
	}
	dir, base := path.Split(name)
	plain := hdr.PAXRecords[paxPlain] != ""
	if !plain && belowWhiteout(path.Clean("/" + dir)[1:]) {
		return nil
	}
	if !plain && strings.HasPrefix(base, whPrefix) {
		v.forget(dir + strings.TrimPrefix(base, whPrefix))
		return nil
	}
	if hdr.Typeflag != tar.TypeDir {
		v.forget(name)
	}
	delete(v.bad, name)
	problem, err := v.look(name, hdr, content)
	if problem != "" {
		v.bad[name] = problem
	}
	return err
}

// forget drops what is known of a name, and of what was below it.
func (v *verifier) forget(name string) {
	for n := range v.bad {
		if n == name || strings.HasPrefix(n, name+"/") {
			delete(v.bad, n)
		}
	}
}

// look says what is wrong with the file of an entry. What cannot be looked at, as
// behind an absolute link, is not called wrong.
func (v *verifier) look(name string, hdr *tar.Header, content io.Reader) (problem string, err error) {
	want := hdr.FileInfo().Mode().Type()
	switch hdr.Typeflag {
	case tar.TypeChar, tar.TypeBlock: // whiteouts, and devices that are left out
		return "", nil
	}
	info, err := v.root.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "missing", nil
	case err != nil:
		return "", nil //nolint:nilerr // see above
	case hdr.Typeflag == tar.TypeLink && !info.IsDir():
		return "", nil // of what has an entry itself
	case info.Mode().Type() != want:
		return fmt.Sprintf("is of type %v, not %v", info.Mode().Type(), want), nil
	case want == fs.ModeSymlink:
		if to, err := v.root.Readlink(name); err == nil && to != hdr.Linkname {
			return "points elsewhere", nil
		}
		return "", nil
	case want != 0:
		return "", nil
	case info.Size() != hdr.Size:
		return fmt.Sprintf("has %d bytes, not %d", info.Size(), hdr.Size), nil
	}
	return v.content(name, content)
}

// content compares a regular file.
func (v *verifier) content(name string, content io.Reader) (problem string, err error) {
	f, err := v.root.Open(name)
	if err != nil {
		return fmt.Sprintf("cannot be read: %v", err), nil
	}
	defer f.Close()
	have := make([]byte, len(v.buf))
	for {
		n, err := io.ReadFull(content, v.buf)
		if n > 0 {
			m, _ := io.ReadFull(f, have[:n])
			if m != n || !bytes.Equal(have[:n], v.buf[:n]) {
				return "has another content", nil
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return "", nil
		}
		if err != nil {
			return "", err
		}
	}
}
