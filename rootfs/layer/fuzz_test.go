// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package layer

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/claude-pocket-console/cpc/internal/idmap"
)

// FuzzUnpack: whatever a layer holds, nothing is made or changed outside of
// the target, and what was unpacked can be packed and removed. It runs as
// whoever runs the tests, where many entries fail for want of rights; as root
// none does.
func FuzzUnpack(f *testing.F) {
	f.Add(stream(f, tar.Header{Name: "a/b"}, tar.Header{Name: ".wh.x"}, tar.Header{Name: "a/.wh..wh..opq"}))
	f.Add(stream(f, tar.Header{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "../outside"}, tar.Header{Name: "l/new"}))
	f.Add(stream(f, tar.Header{Name: "../outside/new"}, tar.Header{Name: "/x", Typeflag: tar.TypeLink, Linkname: "../outside/secret"}))
	f.Add(stream(f, tar.Header{Name: "d", Typeflag: tar.TypeDir}, tar.Header{Name: "d/h", Typeflag: tar.TypeFifo}))
	f.Add(sparse(1 << 20))
	f.Fuzz(func(t *testing.T, data []byte) {
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
	})
}

func FuzzDecompress(f *testing.F) {
	f.Add([]byte("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff\x01\x00\x00\xff\xff\x00\x00\x00\x00\x00\x00\x00\x00"))
	f.Add([]byte("\x28\xb5\x2f\xfd\x04\x00\x01\x00\x00\x99\xe9\xd8\x51"))
	f.Add([]byte("BZh9"))
	f.Add([]byte("plain"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := Decompress(bytes.NewReader(data), Limits{})
		if err != nil {
			return
		}
		defer r.Close()
		_, _ = io.Copy(io.Discard, io.LimitReader(r, 64<<20)) // an error is fine, a panic is not
	})
}
