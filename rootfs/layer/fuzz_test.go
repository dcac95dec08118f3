// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package layer

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/claude-pocket-console/cpc/internal/idmap"
)

// FuzzUnpack: whatever a layer holds, nothing is made or changed outside of
// the target, and what was unpacked can be packed and removed. The input is a
// program: three bytes choose type, name and target of an entry, so that the
// fuzzer plays with the order of entries and not with checksums.
func FuzzUnpack(f *testing.F) {
	f.Add([]byte{2, 1, 40, 0, 17, 0})             // a link, and a file below it
	f.Add([]byte{3, 1, 40, 0, 1, 0})              // a hard link, and a file over it
	f.Add([]byte{1, 1, 0, 0, 17, 0, 0, 5, 0})     // a directory, a file, a whiteout
	f.Add([]byte{0, 17, 0, 2, 1, 40, 1, 1, 0, 0}) // a directory that becomes a link
	f.Fuzz(func(t *testing.T, program []byte) {
		checkUnpack(t, stream(t, entries(program)...))
	})
}

// FuzzUnpackStream is the same for streams that need not be sound.
func FuzzUnpackStream(f *testing.F) {
	f.Add(stream(f, tar.Header{Name: "a/b"}, tar.Header{Name: ".wh.x"}))
	f.Add(sparse(1 << 20))
	f.Fuzz(checkUnpack)
}

// entries makes headers of a program.
func entries(program []byte) []tar.Header {
	parts := []string{"", "a", "b", "..", ".", ".wh.a", ".wh..wh..opq", "outside", "dev", "null", "secret", "target", ".wh.b", "\x00", "a b", "l"}
	name := func(b byte) string {
		first, second := parts[b%16], parts[b/16]
		if second == "" {
			return first
		}
		return first + "/" + second
	}
	kinds := []byte{0, tar.TypeDir, tar.TypeSymlink, tar.TypeLink, tar.TypeFifo, tar.TypeChar, tar.TypeBlock}
	var out []tar.Header
	for ; len(program) >= 3 && len(out) < 100; program = program[3:] {
		kind, to := kinds[int(program[0])%len(kinds)], name(program[1])
		hdr := tar.Header{Typeflag: kind, Name: strings.TrimRight(strings.ReplaceAll(to, "\x00", "z"), "/")}
		if kind == tar.TypeSymlink || kind == tar.TypeLink {
			hdr.Linkname = strings.ReplaceAll(name(program[2]), "\x00", "../..")
			if program[0]&0x40 != 0 {
				hdr.Linkname = "../" + hdr.Linkname
			}
		}
		if program[0]&0x80 != 0 {
			hdr.Name = "/" + hdr.Name
		}
		if hdr.Name = strings.TrimRight(hdr.Name, "/"); hdr.Name != "" {
			out = append(out, hdr)
		}
	}
	return out
}

func checkUnpack(t *testing.T, data []byte) {
	t.Helper()
	dir, outside := jail(t)
	m := idmap.ForRoot(0)
	if os.Geteuid() != 0 {
		m = idmap.ForSingle()
	}
	o := UnpackOptions{Mapping: m, Limits: Limits{Bytes: 4 << 20, Entries: 1000}}
	err := Unpack(t.Context(), bytes.NewReader(data), dir, o)
	checkOutside(t, outside)
	if err == nil {
		// A name may be too long, or start with .wh., to be packed again.
		_ = Pack(t.Context(), io.Discard, dir, PackOptions{Mapping: m})
	}
	if err := Remove(dir); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(filepath.Join(outside, "secret")); err != nil {
		t.Error(err)
	}
}

func FuzzDecompress(f *testing.F) {
	f.Add([]byte("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff\x01\x00\x00\xff\xff\x00\x00\x00\x00\x00\x00\x00\x00"))
	f.Add([]byte("\x28\xb5\x2f\xfd\x04\x00\x01\x00\x00\x99\xe9\xd8\x51"))
	f.Add([]byte("BZh9"))
	f.Add([]byte("plain"))
	f.Fuzz(func(_ *testing.T, data []byte) {
		r, err := Decompress(bytes.NewReader(data), Limits{})
		if err != nil {
			return
		}
		defer func() { _ = r.Close() }()
		_, _ = io.Copy(io.Discard, io.LimitReader(r, 64<<20)) // an error is fine, a panic is not
	})
}
