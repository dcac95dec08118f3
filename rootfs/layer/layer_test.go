// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package layer

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/idmap"
	"github.com/claude-pocket-console/cpc/internal/inode"
	"github.com/claude-pocket-console/cpc/internal/modetest"
)

func TestMain(m *testing.M) { modetest.Main(m) }

// stream makes a tar stream; headers without a type are files.
func stream(tb testing.TB, hdrs ...tar.Header) []byte {
	tb.Helper()
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	for _, hdr := range hdrs {
		content := ""
		if hdr.Typeflag == 0 {
			hdr.Typeflag = tar.TypeReg
			content = "content of " + hdr.Name
			hdr.Size = int64(len(content))
		}
		if hdr.Mode == 0 {
			hdr.Mode = 0o755
		}
		if err := tw.WriteHeader(&hdr); err != nil {
			tb.Fatal(err)
		}
		if _, err := io.WriteString(tw, content); err != nil {
			tb.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		tb.Fatal(err)
	}
	return buf.Bytes()
}

// jail is a target directory and a file beside it that nothing may reach.
func jail(tb testing.TB) (dir, outside string) {
	tb.Helper()
	top := tb.TempDir()
	dir, outside = filepath.Join(top, "target"), filepath.Join(top, "outside")
	for _, d := range []string{dir, outside} {
		if err := os.Mkdir(d, 0o755); err != nil {
			tb.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(outside, "secret"), []byte("secret"), 0o600); err != nil {
		tb.Fatal(err)
	}
	return dir, outside
}

func checkOutside(tb testing.TB, outside string) {
	tb.Helper()
	for dir, want := range map[string]string{outside: "secret", filepath.Dir(outside): "outside target"} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			tb.Fatal(err)
		}
		var names []string
		for _, e := range entries {
			names = append(names, e.Name())
		}
		if got := strings.Join(names, " "); got != want {
			tb.Errorf("%s holds %q, want %q", dir, got, want)
		}
	}
	data, err := os.ReadFile(filepath.Join(outside, "secret"))
	if err != nil || string(data) != "secret" {
		tb.Errorf("the file outside is now %q, %v", data, err)
	}
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(outside, "secret"), &st); err != nil || st.Mode&0o7777 != 0o600 || st.Nlink != 1 {
		tb.Errorf("the file outside has mode %o and %d links: %v", st.Mode, st.Nlink, err)
	}
}

func TestUnpackHostile(t *testing.T) {
	const dir, link, hard = tar.TypeDir, tar.TypeSymlink, tar.TypeLink
	tests := map[string]struct {
		in      []tar.Header
		wantErr string   // empty: it is unpacked, safely
		want    []string // names that must be there then
	}{
		"dotdot":                  {in: []tar.Header{{Name: "../outside/new"}}, wantErr: `name with ".."`},
		"dotdot inside":           {in: []tar.Header{{Name: "a/../../outside/new"}}, wantErr: `name with ".."`},
		"dotdot dir":              {in: []tar.Header{{Name: "..", Typeflag: dir}}, wantErr: `name with ".."`},
		"absolute":                {in: []tar.Header{{Name: "/outside/new"}}, want: []string{"outside/new"}},
		"relative link as parent": {in: []tar.Header{{Name: "l", Typeflag: link, Linkname: "../outside"}, {Name: "l/new"}}, wantErr: "parent directory"},
		"link in the layer":       {in: []tar.Header{{Name: "real", Typeflag: dir}, {Name: "l", Typeflag: link, Linkname: "/real"}, {Name: "l/new"}}, want: []string{"real/new"}},
		"deep link as parent":     {in: []tar.Header{{Name: "a/b", Typeflag: link, Linkname: "../../../../../../../../../tmp"}, {Name: "a/b/c/new"}}, wantErr: "parent directory"},
		"link loop":               {in: []tar.Header{{Name: "l", Typeflag: link, Linkname: "l"}, {Name: "l/new"}}, wantErr: "parent directory"},
		"write through link":      {in: []tar.Header{{Name: "l", Typeflag: link, Linkname: "../outside/secret"}, {Name: "l"}}, want: []string{"l"}},
		"dir over link":           {in: []tar.Header{{Name: "l", Typeflag: link, Linkname: "../outside"}, {Name: "l", Typeflag: dir, Mode: 0o777}, {Name: "l/new"}}, want: []string{"l/new"}},
		"hard link out":           {in: []tar.Header{{Name: "h", Typeflag: hard, Linkname: "../outside/secret"}}, wantErr: `name with ".."`},
		"hard link absolute":      {in: []tar.Header{{Name: "h", Typeflag: hard, Linkname: "/etc/passwd"}}, wantErr: "hard link"},
		"hard link through link":  {in: []tar.Header{{Name: "l", Typeflag: link, Linkname: "../outside"}, {Name: "h", Typeflag: hard, Linkname: "l/secret"}}, wantErr: "hard link"},
		"hard link to link":       {in: []tar.Header{{Name: "l", Typeflag: link, Linkname: "../outside/secret"}, {Name: "h", Typeflag: hard, Linkname: "l"}, {Name: "h"}}, want: []string{"h"}},
		"hard link to itself":     {in: []tar.Header{{Name: "h", Typeflag: hard, Linkname: "./h"}}, wantErr: "itself"},
		"hard link to dir":        {in: []tar.Header{{Name: "d", Typeflag: dir}, {Name: "h", Typeflag: hard, Linkname: "d"}}, wantErr: "not a file"},
		"parent is a file":        {in: []tar.Header{{Name: "f"}, {Name: "f/new"}}, wantErr: "parent directory"},
		"standard device":         {in: []tar.Header{{Name: "./dev/null", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3}}, want: []string{"dev"}},
		"empty whiteout":          {in: []tar.Header{{Name: "a/.wh."}}, wantErr: "malformed whiteout"},
		"whiteout of parent":      {in: []tar.Header{{Name: "a/.wh..."}}, wantErr: "malformed whiteout"},
		"below a whiteout":        {in: []tar.Header{{Name: "a/.wh.b/c"}}, wantErr: "below a whiteout"},
		"root is a file":          {in: []tar.Header{{Name: "."}}, wantErr: "root of a layer"},
		"root is a link":          {in: []tar.Header{{Name: "/", Typeflag: link, Linkname: "../outside"}}, wantErr: "root of a layer"},
		"long part":               {in: []tar.Header{{Name: strings.Repeat("n", 256)}}, wantErr: "255"},
		"long name":               {in: []tar.Header{{Name: strings.Repeat("n/", 3000) + "n"}}, wantErr: "4095"},
		"deep":                    {in: []tar.Header{{Name: strings.Repeat("d/", 2000) + "f"}}, want: []string{"d/d/d"}},
		"replaced parent": {
			in:   []tar.Header{{Name: "d/a"}, {Name: "d", Typeflag: link, Linkname: "../outside"}, {Name: "d", Typeflag: dir}, {Name: "d/b"}},
			want: []string{"d/b"},
		},
		"parent becomes link": {
			in:      []tar.Header{{Name: "d/a"}, {Name: "d", Typeflag: link, Linkname: "../outside"}, {Name: "d/new"}},
			wantErr: "parent directory",
		},
	}
	modetest.Each(t, func(t modetest.T) {
		m := t.Mapping
		for name, test := range tests {
			dir, outside := jail(t)
			err := Unpack(t.Context(), bytes.NewReader(stream(t, test.in...)), dir, UnpackOptions{Mapping: m})
			checkOutside(t, outside)
			switch {
			case test.wantErr != "" && (err == nil || !strings.Contains(err.Error(), test.wantErr)):
				t.Errorf("%s: %v, want an error with %q", name, err, test.wantErr)
			case test.wantErr == "" && err != nil:
				t.Errorf("%s: %v", name, err)
			}
			for _, n := range test.want {
				if _, err := os.Lstat(filepath.Join(dir, n)); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
			if err := Remove(dir); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

func unpack(tb testing.TB, m idmap.Mapping, hdrs ...tar.Header) string {
	tb.Helper()
	dir := tb.TempDir()
	warn := func(msg string) { tb.Log(msg) }
	if err := Unpack(tb.Context(), bytes.NewReader(stream(tb, hdrs...)), dir, UnpackOptions{Mapping: m, Warn: warn}); err != nil {
		tb.Fatal(err)
	}
	return dir
}

func TestUnpackMetadata(t *testing.T) {
	mtime := time.Unix(1_600_000_000, 987_654_321)
	modetest.Each(t, func(t modetest.T) {
		m := t.Mapping
		capData := "\x01\x00\x00\x03\x00\x20" + strings.Repeat("\x00", 14) + "\x05\x00\x00\x00" // revision 3, of some other namespace
		dir := unpack(
			t, m,
			tar.Header{Name: "d", Typeflag: tar.TypeDir, Mode: 0o1750, Uid: 1000, Gid: 65535, ModTime: mtime, Format: tar.FormatPAX},
			tar.Header{
				Name: "d/f", Mode: 0o6711, Uid: 5, Gid: 6, ModTime: mtime, Format: tar.FormatPAX,
				PAXRecords: map[string]string{
					"SCHILY.xattr.user.note": "a\x00b", "SCHILY.xattr.security.capability": capData,
					"SCHILY.xattr.user.overlay.opaque": "y", "SCHILY.xattr.trusted.overlay.opaque": "y",
					"SCHILY.xattr.security.selinux": "x", "SCHILY.xattr.trusted.x": "x",
				},
			},
			tar.Header{Name: "d/l", Typeflag: tar.TypeSymlink, Linkname: "f", Uid: 7, Gid: 8, ModTime: mtime, Format: tar.FormatPAX},
			tar.Header{Name: "implicit/f"},
		)
		for name, want := range map[string]struct {
			mode     uint32
			uid, gid uint32
		}{
			"d": {unix.S_IFDIR | 0o1750, 1000, 65535}, "d/f": {unix.S_IFREG | 0o6711, 5, 6},
			"d/l": {unix.S_IFLNK | 0o777, 7, 8},
		} {
			var st unix.Stat_t
			if err := unix.Lstat(filepath.Join(dir, name), &st); err != nil {
				t.Fatal(err)
			}
			uid, errU := m.ToStore(want.uid)
			gid, errG := m.ToStore(want.gid)
			if st.Mode != want.mode || st.Uid != uid || st.Gid != gid || errU != nil || errG != nil {
				t.Errorf("%s: %o %d:%d, want %o %d:%d", name, st.Mode, st.Uid, st.Gid, want.mode, uid, gid)
			}
			if st.Mtim.Nano() != mtime.UnixNano() {
				t.Errorf("%s: time %v, want %v", name, st.Mtim, mtime)
			}
		}
		f, err := os.Open(filepath.Join(dir, "d/f"))
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := f.Close(); err != nil {
				t.Error(err)
			}
		}()
		kept, _, err := attributes(int(f.Fd()), opaqueName(m))
		if err != nil || kept["user.note"] != "a\x00b" || len(kept) != 2 {
			t.Errorf("attributes: %q %v", kept, err)
		}
		if got := kept[inode.Capability]; got != "\x01\x00\x00\x02"+capData[4:20] {
			t.Errorf("capability: %q", got)
		}
		_, all, err := inode.Attributes(int(f.Fd()))
		if err != nil || len(all) != 2 {
			t.Errorf("attributes on disk: %q %v", all, err)
		}
	})
}

func TestUnpackWhiteouts(t *testing.T) {
	const dir = tar.TypeDir
	modetest.Each(t, func(t modetest.T) {
		m := t.Mapping
		at := unpack(
			t, m,
			tar.Header{Name: ".wh.gone"},
			tar.Header{Name: "a/.wh..wh..opq"}, tar.Header{Name: "a", Typeflag: dir}, tar.Header{Name: "a/new"},
			tar.Header{Name: "both", Typeflag: dir}, tar.Header{Name: "both/in"}, tar.Header{Name: ".wh.both"},
			tar.Header{Name: ".wh.later"}, tar.Header{Name: "later", Typeflag: dir},
			tar.Header{Name: ".wh.implicit"}, tar.Header{Name: "implicit/x"},
			tar.Header{Name: "file"}, tar.Header{Name: ".wh.file"},
			tar.Header{Name: ".wh..wh.plnk", Typeflag: dir}, tar.Header{Name: ".wh..wh.aufs"},
		)
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(at, "gone"), &st); err != nil || !isWhiteout(&st) {
			t.Errorf("gone: mode %o: %v, want a whiteout", st.Mode, err)
		}
		for name, want := range map[string]bool{"a": true, "both": true, "later": true, "implicit": true, ".": false} {
			d, err := os.Open(filepath.Join(at, name))
			if err != nil {
				t.Fatal(err)
			}
			_, opaque, err := attributes(int(d.Fd()), opaqueName(m))
			if err != nil || opaque != want {
				t.Errorf("%s: opaque %v %v, want %v", name, opaque, err, want)
			}
			if err := d.Close(); err != nil {
				t.Error(err)
			}
		}
		for _, name := range []string{"a/new", "both/in", "implicit/x", "file"} {
			if st, err := os.Lstat(filepath.Join(at, name)); err != nil || !st.Mode().IsRegular() {
				t.Errorf("%s: %v %v", name, st, err)
			}
		}
		entries, err := os.ReadDir(at)
		if err != nil || len(entries) != 6 {
			t.Errorf("root holds %v %v, want 6 names", entries, err)
		}
	})
}

func TestUnpackRefusesForeignIDs(t *testing.T) {
	modetest.In(t, []idmap.Mode{idmap.Root, idmap.Mapped}, func(t modetest.T) {
		m := t.Mapping
		for _, hdr := range []tar.Header{
			{Name: "some/file", Uid: 65536},
			{Name: "some/file", Gid: 1 << 31},
			{Name: "some/file", Uid: -1, Format: tar.FormatGNU},
			{Name: "some/file", Uid: 1<<32 + 1, Format: tar.FormatPAX},
		} {
			err := Unpack(t.Context(), bytes.NewReader(stream(t, hdr)), t.TempDir(), UnpackOptions{Mapping: m})
			if err == nil || !strings.Contains(err.Error(), `"some/file"`) || !strings.Contains(err.Error(), "id") {
				t.Errorf("%d:%d: %v, want an error with the name", hdr.Uid, hdr.Gid, err)
			}
		}
	})
}

func TestUnpackLimits(t *testing.T) {
	modetest.In(t, []idmap.Mode{idmap.Single}, func(t modetest.T) {
		m := t.Mapping
		three := stream(t, tar.Header{Name: "a"}, tar.Header{Name: "b"}, tar.Header{Name: "c"})
		tests := map[string]struct {
			in     []byte
			limits Limits
			want   string
		}{
			"entries":   {three, Limits{Entries: 2}, "more than 2 entries"},
			"stream":    {append(three, make([]byte, 1<<20)...), Limits{Bytes: 1 << 20}, "larger than the limit"},
			"sparse":    {sparse(1 << 40), Limits{}, "larger than the limit"},
			"truncated": {three[:515], Limits{}, "unexpected EOF"},
			"cut short": {three[:1024], Limits{}, "cut short (1024 bytes"},
			"empty":     {nil, Limits{}, "cut short"},
			"not a tar": {bytes.Repeat([]byte("x"), 4096), Limits{}, "invalid tar header"},
		}
		for name, test := range tests {
			err := Unpack(t.Context(), bytes.NewReader(test.in), t.TempDir(), UnpackOptions{Mapping: m, Limits: test.limits, Whole: true})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%s: %v, want an error with %q", name, err, test.want)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := Unpack(ctx, bytes.NewReader(three), t.TempDir(), UnpackOptions{Mapping: m}); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: %v", err)
		}
	})
}

// sparse is a GNU sparse file (PAX 1.0) of so many bytes, all of them a hole.
func sparse(size int64) []byte {
	var buf bytes.Buffer
	record := func(s string) string {
		for n := len(s) + 2; ; n++ {
			if line := itoa(n) + " " + s + "\n"; len(line) == n {
				return line
			}
		}
	}
	pax := record("GNU.sparse.major=1") + record("GNU.sparse.minor=0") + record("GNU.sparse.name=hole") + record("GNU.sparse.realsize="+itoa(int(size)))
	block := func(name string, kind byte, content string) {
		h := make([]byte, 512)
		copy(h, name)
		copy(h[100:], "0000644\x000000000\x000000000\x00")
		copy(h[124:], fmt11(len(content))+"\x00"+fmt11(0)+"\x00")
		h[156] = kind
		copy(h[257:], "ustar\x0000")
		copy(h[148:], "        ")
		sum := 0
		for _, b := range h {
			sum += int(b)
		}
		copy(h[148:], fmt11(sum)[5:]+"\x00 ")
		buf.Write(h)
		buf.WriteString(content)
		buf.Write(make([]byte, (512-len(content)%512)%512))
	}
	block("pax", 'x', pax)
	block("hole", '0', "0\n"+strings.Repeat("\x00", 510))
	buf.Write(make([]byte, 1024))
	return buf.Bytes()
}

func itoa(n int) string { return formatInt(n, 10) }

func fmt11(n int) string {
	s := formatInt(n, 8)
	return strings.Repeat("0", 11-len(s)) + s
}

// Device nodes are left out, with the links to them and what they replace; one
// with the number 0 is a whiteout.
func TestUnpackDevices(t *testing.T) {
	modetest.Each(t, func(t modetest.T) {
		dir := t.TempDir()
		var warned []string
		in := stream(
			t,
			tar.Header{Name: "dev/sda", Typeflag: tar.TypeBlock, Devmajor: 8},
			tar.Header{Name: "dev/disk", Typeflag: tar.TypeLink, Linkname: "dev/sda"},
			tar.Header{Name: "dev/null", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3},
			tar.Header{Name: "mem"},
			tar.Header{Name: "mem", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 1},
			tar.Header{Name: "gone", Typeflag: tar.TypeChar},
			tar.Header{Name: "file"},
		)
		err := Unpack(t.Context(), bytes.NewReader(in), dir, UnpackOptions{Mapping: t.Mapping, Warn: func(s string) { warned = append(warned, s) }})
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"dev/sda", "dev/disk", "dev/null", "mem"} {
			if _, err := os.Lstat(filepath.Join(dir, name)); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("%s: %v", name, err)
			}
		}
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(dir, "gone"), &st); err != nil || !isWhiteout(&st) {
			t.Errorf("no whiteout: %v", err)
		}
		if len(warned) != 3 || !strings.Contains(warned[0], `"dev/sda": device node skipped`) {
			t.Errorf("warned of %q", warned)
		}
		if err := Remove(dir); err != nil {
			t.Error(err)
		}
	})
}
