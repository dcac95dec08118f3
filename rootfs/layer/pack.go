// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package layer

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/idmap"
)

// PackOptions are the options of Pack.
type PackOptions struct {
	// Mapping says which ids the files on disk stand for.
	Mapping idmap.Mapping
	// Limits: Bytes bounds the size of all files, holes included.
	Limits Limits
	// Warn, if set, is told what a layer cannot hold: sockets.
	Warn func(string)
	// Live: the tree is one that is in use, mounted, and whoever uses it may
	// change it at any time. What vanishes meanwhile is left out, and device
	// nodes are.
	Live bool
}

// Changed reports whether the upper directory says that anything differs from
// the layers below it.
func Changed(upper string, m idmap.Mapping) (_ bool, err error) {
	d, err := os.Open(upper)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	if _, err := d.Readdirnames(1); err == nil {
		return true, nil
	} else if !errors.Is(err, io.EOF) {
		return false, err
	}
	_, opaque, err := attributes(int(d.Fd()), opaqueName(m))
	return opaque, err
}

// Pack writes the upper directory of an overlay as the tar stream of a layer.
// The same tree gives the same bytes: entries are sorted, owners are numbers,
// and access times are left out. The overlay must not be mounted any more.
//
// Preconditions: as for Unpack.
func Pack(ctx context.Context, w io.Writer, upper string, o PackOptions) (err error) {
	root, err := openDir(unix.AT_FDCWD, upper)
	if err != nil {
		return fmt.Errorf("open %s: %w", upper, err)
	}
	defer func() { err = errors.Join(err, unix.Close(root)) }()
	p := &packer{
		ctx: ctx, root: root, o: o, opaque: opaqueName(o.Mapping),
		tw: tar.NewWriter(w), links: make(map[inode]string),
	}
	var st unix.Stat_t
	if err := unix.Fstat(root, &st); err != nil {
		return fmt.Errorf("stat %s: %w", upper, err)
	}
	if err := p.dir(".", &st); err != nil {
		return fmt.Errorf("pack %s: %w", upper, err)
	}
	return p.tw.Close()
}

type inode struct{ dev, ino uint64 }

type packer struct {
	ctx    context.Context
	root   int
	o      PackOptions
	opaque string
	tw     *tar.Writer
	links  map[inode]string
	bytes  int64
}

// header returns what is common to entries of every type.
func (p *packer) header(name string, st *unix.Stat_t) (*tar.Header, error) {
	from := p.o.Mapping.FromStore
	if p.o.Live {
		from = p.o.Mapping.FromCaller
	}
	uid, err := from(st.Uid)
	if err != nil {
		return nil, fmt.Errorf("%s: user %w", quote(name), err)
	}
	gid, err := from(st.Gid)
	if err != nil {
		return nil, fmt.Errorf("%s: group %w", quote(name), err)
	}
	return &tar.Header{
		Name: name, Mode: int64(st.Mode & 0o7777), Uid: int(uid), Gid: int(gid),
		ModTime: time.Unix(st.Mtim.Unix()), Format: tar.FormatPAX,
	}, nil
}

func (p *packer) dir(name string, st *unix.Stat_t) error {
	fd, err := p.open(name, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return fmt.Errorf("%s: %w", quote(name), err)
	}
	d := os.NewFile(uintptr(fd), name)
	attrs, opaque, err := attributes(fd, p.opaque)
	var names []string
	if err == nil {
		names, err = d.Readdirnames(-1)
	}
	if err = errors.Join(err, d.Close()); err != nil {
		return fmt.Errorf("%s: %w", quote(name), err)
	}
	hdr, err := p.header(strings.TrimPrefix(name+"/", "./"), st)
	if err != nil {
		return err
	}
	if name == "." {
		hdr.Name = "./"
	}
	hdr.Typeflag = tar.TypeDir
	if err := p.write(hdr, attrs); err != nil {
		return err
	}
	if opaque {
		if err := p.marker(path.Join(name, whOpaque), st); err != nil {
			return err
		}
	}
	slices.Sort(names)
	for _, n := range names {
		if err := p.entry(path.Join(name, n)); err != nil && !p.vanished(err) {
			return err
		}
	}
	return nil
}

// open opens a name of the tree, and nothing that a link in it leads to: who
// uses a live tree may put one anywhere.
func (p *packer) open(name string, flags uint64) (int, error) {
	return unix.Openat2(p.root, name, &unix.OpenHow{
		Flags:   flags | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
	})
}

// errChanged is the end of an entry that became another under one's hands.
var errChanged = errors.New("it changes while it is read")

// vanished reports whether an error says that a live tree has changed.
func (p *packer) vanished(err error) bool {
	return p.o.Live && (errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) || errors.Is(err, errChanged))
}

// stat looks at a name of the tree, and at where a symbolic link points.
func (p *packer) stat(name string) (st unix.Stat_t, target string, err error) {
	fd, err := p.open(name, unix.O_PATH)
	if err != nil {
		return st, "", err
	}
	if err = unix.Fstat(fd, &st); err == nil && st.Mode&unix.S_IFMT == unix.S_IFLNK {
		buf := make([]byte, maxPath+1)
		var n int
		if n, err = unix.Readlinkat(fd, "", buf); err == nil {
			target = string(buf[:n])
		}
	}
	return st, target, errors.Join(err, unix.Close(fd))
}

// marker writes the empty file that stands for a removal.
func (p *packer) marker(name string, st *unix.Stat_t) error {
	return p.write(&tar.Header{
		Typeflag: tar.TypeReg, Name: name, ModTime: time.Unix(st.Mtim.Unix()), Format: tar.FormatPAX,
	}, nil)
}

func (p *packer) write(hdr *tar.Header, attrs map[string]string) error {
	if err := p.ctx.Err(); err != nil {
		return err
	}
	if len(strings.TrimSuffix(hdr.Name, "/")) > maxPath {
		return fmt.Errorf("%s: name is longer than %d bytes", quote(hdr.Name), maxPath)
	}
	for name, value := range attrs {
		if strings.Contains(name, "=") {
			p.warn(fmt.Sprintf("%s: a layer cannot hold the attribute %s", quote(hdr.Name), quote(name)))
			continue
		}
		if hdr.PAXRecords == nil {
			hdr.PAXRecords = make(map[string]string, len(attrs))
		}
		hdr.PAXRecords[paxXattr+name] = value
	}
	if err := p.tw.WriteHeader(hdr); err != nil {
		return fmt.Errorf("%s: %w", quote(hdr.Name), err)
	}
	return nil
}

func (p *packer) entry(name string) error {
	st, target, err := p.stat(name)
	if err != nil {
		return fmt.Errorf("%s: %w", quote(name), err)
	}
	base := path.Base(name)
	if isWhiteout(&st) && !p.o.Live {
		return p.marker(path.Join(path.Dir(name), whPrefix+base), &st)
	}
	if strings.HasPrefix(base, whPrefix) {
		return fmt.Errorf("%s: a layer cannot hold a name that starts with %s", quote(name), whPrefix)
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return p.dir(name, &st)
	}
	if st.Nlink > 1 {
		key := inode{st.Dev, st.Ino}
		if first, ok := p.links[key]; ok {
			return p.hardLink(name, first, &st)
		}
		p.links[key] = name
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return p.file(name, &st)
	case unix.S_IFLNK:
		return p.symlink(name, target, &st)
	case unix.S_IFIFO:
		hdr, err := p.header(name, &st)
		if err != nil {
			return err
		}
		hdr.Typeflag = tar.TypeFifo
		return p.write(hdr, nil)
	case unix.S_IFSOCK:
		delete(p.links, inode{st.Dev, st.Ino})
		p.warn(fmt.Sprintf("%s: a layer cannot hold a socket", quote(name)))
		return nil
	}
	if p.o.Live {
		delete(p.links, inode{st.Dev, st.Ino})
		return nil
	}
	return fmt.Errorf("%s: a layer may not hold a device node", quote(name))
}

func (p *packer) warn(msg string) {
	if p.o.Warn != nil {
		p.o.Warn(msg)
	}
}

func (p *packer) hardLink(name, first string, st *unix.Stat_t) error {
	hdr, err := p.header(name, st)
	if err != nil {
		return err
	}
	hdr.Typeflag, hdr.Linkname = tar.TypeLink, first
	return p.write(hdr, nil)
}

func (p *packer) symlink(name, target string, st *unix.Stat_t) error {
	hdr, err := p.header(name, st)
	if err != nil {
		return err
	}
	hdr.Typeflag, hdr.Linkname = tar.TypeSymlink, target
	return p.write(hdr, nil)
}

func (p *packer) file(name string, st *unix.Stat_t) (err error) {
	fd, err := p.open(name, unix.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		return fmt.Errorf("%s: %w", quote(name), err)
	}
	f := os.NewFile(uintptr(fd), name)
	defer func() { err = errors.Join(err, f.Close()) }()
	var now unix.Stat_t
	if err := unix.Fstat(fd, &now); err != nil {
		return fmt.Errorf("%s: %w", quote(name), err)
	}
	if now.Mode&unix.S_IFMT != unix.S_IFREG {
		return fmt.Errorf("%s: %w", quote(name), errChanged)
	}
	st.Size = now.Size
	hdr, err := p.header(name, &now)
	if err != nil {
		return err
	}
	attrs, _, err := attributes(fd, p.opaque)
	if err != nil {
		return fmt.Errorf("%s: %w", quote(name), err)
	}
	most := p.o.Limits.withDefaults().Bytes
	if p.bytes += st.Size; p.bytes > most || p.bytes < 0 {
		return fmt.Errorf("%s: files of the layer are larger than the limit of %d bytes", quote(name), most)
	}
	hdr.Typeflag, hdr.Size = tar.TypeReg, st.Size
	if err := p.write(hdr, attrs); err != nil {
		return err
	}
	n, err := io.CopyN(p.tw, ctxReader{p.ctx, f}, st.Size)
	if errors.Is(err, io.EOF) && p.o.Live { // shorter by now
		_, err = io.CopyN(p.tw, zeroes{}, st.Size-n)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", quote(name), err)
	}
	return nil
}

// zeroes is an endless stream of them.
type zeroes struct{}

func (zeroes) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// ctxReader ends a copy when the context does.
type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

func (c ctxReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
