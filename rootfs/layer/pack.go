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
	"github.com/claude-pocket-console/cpc/internal/inode"
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
	// nodes are, and what the kernel's own file systems (proc, sysfs) contain.
	Live bool
	// KeepIDs writes the ids as they are, and Mapping is not used.
	KeepIDs bool
	// Latest, if set, is the latest time that a file gets.
	Latest time.Time
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
	if err := PackFrom(ctx, w, Source{Dir: root, Name: ".", As: "."}, o); err != nil {
		return fmt.Errorf("pack %s: %w", upper, err)
	}
	return nil
}

// Source is a file or a directory to pack.
type Source struct {
	Dir  int    // an open directory
	Name string // in Dir; or "." for Dir itself
	As   string // what the tar calls it
}

// PackFrom is Pack for one name of a directory that is open already.
func PackFrom(ctx context.Context, w io.Writer, from Source, o PackOptions) error {
	top, err := inode.Stat(from.Dir)
	if err != nil {
		return err
	}
	p := &packer{
		ctx: ctx, root: from.Dir, from: from, disk: top.Key.Dev, o: o, opaque: opaqueName(o.Mapping),
		tw: tar.NewWriter(w), links: make(map[inode.Key]string),
	}
	if err := p.entry(from.Name); err != nil {
		return err
	}
	return p.tw.Close()
}

type packer struct {
	ctx    context.Context
	root   int
	from   Source
	disk   uint64 // that root is on
	o      PackOptions
	opaque string
	tw     *tar.Writer
	links  map[inode.Key]string
	bytes  int64
}

// called is what the tar calls a name of the tree.
func (p *packer) called(name string) string {
	if name == p.from.Name {
		return p.from.As
	}
	return path.Join(p.from.As, strings.TrimPrefix(name, p.from.Name+"/"))
}

// write writes the entry of a file, which is described with the ids that it has
// on disk. First is the name that the tar has of it already; "" for none.
func (p *packer) write(name string, n *inode.Inode, first string) error {
	from := p.o.Mapping.FromStore
	if p.o.Live {
		from = p.o.Mapping.FromCaller
	}
	in := *n
	if p.o.KeepIDs {
		from = func(id uint32) (uint32, error) { return id, nil }
	}
	if err := in.MapIDs(from); err != nil {
		return fmt.Errorf("%s: %w", quote(name), err)
	}
	if !p.o.Latest.IsZero() && in.Time.After(p.o.Latest) {
		in.Time = p.o.Latest
	}
	as := p.called(name)
	if in.IsDir() {
		as += "/"
	}
	hdr, lost := header(as, &in)
	if first != "" {
		hdr.Typeflag, hdr.Linkname, hdr.Size = tar.TypeLink, first, 0
	}
	for _, attr := range lost {
		p.warn(fmt.Sprintf("%s: a layer cannot hold the attribute %s", quote(name), quote(attr)))
	}
	if !p.o.Live && (belowWhiteout(path.Dir(name)) || strings.HasPrefix(path.Base(name), whPrefix)) {
		setRecord(hdr, paxPlain, "1")
		p.warn(fmt.Sprintf("%s: to other programs, a name in a layer that starts with %s stands for a removal", quote(name), whPrefix))
	}
	return p.put(hdr)
}

func (p *packer) dir(name string, in *inode.Inode) error {
	fd, err := p.open(name, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return fmt.Errorf("%s: %w", quote(name), err)
	}
	d := os.NewFile(uintptr(fd), name)
	attrs, opaque, err := attributes(fd, p.opaque)
	in.Attrs = attrs
	var names []string
	if err == nil && (!p.o.Live || in.Key.Dev == p.disk || !kernels(fd)) {
		names, err = d.Readdirnames(-1)
	}
	if err = errors.Join(err, d.Close()); err != nil {
		return fmt.Errorf("%s: %w", quote(name), err)
	}
	if err := p.write(name, in, ""); err != nil {
		return err
	}
	if opaque {
		if err := p.marker(path.Join(name, whOpaque), in); err != nil {
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

// kernels reports whether an open directory is of a file system that has no files of
// anybody's.
func kernels(fd int) bool {
	var st unix.Statfs_t
	if err := unix.Fstatfs(fd, &st); err != nil {
		return false
	}
	switch uint32(st.Type) { //nolint:gosec // magic numbers have 32 bits; other architectures have other types
	case unix.PROC_SUPER_MAGIC, unix.SYSFS_MAGIC, unix.CGROUP_SUPER_MAGIC, unix.CGROUP2_SUPER_MAGIC, unix.DEVPTS_SUPER_MAGIC:
		return true
	}
	return false
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

// stat describes a name of the tree, but for attributes.
func (p *packer) stat(name string) (inode.Inode, error) {
	fd, err := p.open(name, unix.O_PATH)
	if err != nil {
		return inode.Inode{}, err
	}
	n, err := inode.Stat(fd)
	return n, errors.Join(err, unix.Close(fd))
}

// marker writes the empty file that stands for a removal.
func (p *packer) marker(name string, n *inode.Inode) error {
	return p.put(&tar.Header{Typeflag: tar.TypeReg, Name: name, ModTime: n.Time, Format: tar.FormatPAX})
}

func (p *packer) put(hdr *tar.Header) error {
	if err := p.ctx.Err(); err != nil {
		return err
	}
	if len(strings.TrimSuffix(hdr.Name, "/")) > maxPath {
		return fmt.Errorf("%s: name is longer than %d bytes", quote(hdr.Name), maxPath)
	}
	if err := p.tw.WriteHeader(hdr); err != nil {
		return fmt.Errorf("%s: %w", quote(hdr.Name), err)
	}
	return nil
}

func (p *packer) entry(name string) error {
	n, err := p.stat(name)
	if err != nil {
		return fmt.Errorf("%s: %w", quote(name), err)
	}
	if n.Type() == unix.S_IFCHR && n.Device == 0 && !p.o.Live {
		return p.marker(path.Join(path.Dir(name), whPrefix+path.Base(name)), &n)
	}
	switch n.Type() {
	case unix.S_IFDIR:
		return p.dir(name, &n)
	case unix.S_IFSOCK:
		p.warn(fmt.Sprintf("%s: a layer cannot hold a socket", quote(name)))
		return nil
	case unix.S_IFREG, unix.S_IFLNK, unix.S_IFIFO:
	default:
		if p.o.Live {
			return nil
		}
		return fmt.Errorf("%s: a layer may not hold a device node", quote(name))
	}
	if n.Shared() {
		if first, ok := p.links[n.Key]; ok {
			return p.write(name, &n, first)
		}
		p.links[n.Key] = p.called(name)
	}
	if n.IsRegular() {
		return p.file(name)
	}
	return p.write(name, &n, "")
}

func (p *packer) warn(msg string) {
	if p.o.Warn != nil {
		p.o.Warn(msg)
	}
}

func (p *packer) file(name string) (err error) {
	fd, err := p.open(name, unix.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		return fmt.Errorf("%s: %w", quote(name), err)
	}
	f := os.NewFile(uintptr(fd), name)
	defer func() { err = errors.Join(err, f.Close()) }()
	n, err := inode.Stat(fd)
	if err == nil && !n.IsRegular() {
		err = errChanged
	}
	if err == nil {
		n.Attrs, _, err = attributes(fd, p.opaque)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", quote(name), err)
	}
	most := p.o.Limits.withDefaults().Bytes
	if p.bytes += n.Size; p.bytes > most || p.bytes < 0 {
		return fmt.Errorf("%s: files of the layer are larger than the limit of %d bytes", quote(name), most)
	}
	if err := p.write(name, &n, ""); err != nil {
		return err
	}
	got, err := io.CopyN(p.tw, ctxReader{p.ctx, f}, n.Size)
	if errors.Is(err, io.EOF) && p.o.Live { // shorter by now
		_, err = io.CopyN(p.tw, zeroes{}, n.Size-got)
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
