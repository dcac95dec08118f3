// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package layer

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/idmap"
)

// UnpackOptions are the options of Unpack.
type UnpackOptions struct {
	// Mapping says which ids the files get on disk.
	Mapping idmap.Mapping
	Limits  Limits
	// Whole: the stream must have the mark that ends a tar stream. For one
	// whose digest is not known, that shows whether it is all there.
	Whole bool
	// Plain: the tar is no layer. Names that stand for removals in a layer are
	// files' here.
	Plain bool
	// Into, if set: the directory is one in use.
	Into *Into
	// Warn, if set, is told what could not be kept and why.
	Warn func(string)
}

// Into is about a directory that is in use: whoever uses it may change it at any time,
// and it may have anything in it, mounts included. A file is replaced by a file only,
// and a directory that is there keeps its owner and mode.
type Into struct {
	// As is the name that the tar's one file is given; "": names are the tar's.
	As string
	// New: it was made for this, and gets what the tar says of its root.
	New bool
	// Owner owns everything; nil: whom the tar says.
	Owner *Owner
	// Own: all files belong to the caller, and none gives its rights away: set-id
	// bits and capabilities are dropped. Mapping and Owner are not used.
	Own bool
	// Harmless drops set-id bits and capabilities also without Own.
	Harmless bool
}

// Owner is a pair of image ids.
type Owner struct{ UID, GID uint32 }

// Unpack writes the tar stream in r, which is not compressed, into the
// directory dir, which is empty and nobody else's. It reads r to its end. When
// it returns an error dir holds a part of the layer; the caller removes it.
//
// Preconditions: uid 0 with CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER and
// CAP_MKNOD in a user namespace that maps the ids of o.Mapping.
func Unpack(ctx context.Context, r io.Reader, dir string, o UnpackOptions) (err error) {
	root, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", dir, err)
	}
	defer func() { err = errors.Join(err, unix.Close(root)) }()
	return full(dir, UnpackAt(ctx, r, root, o))
}

// UnpackAt is Unpack for a directory that is open already.
func UnpackAt(ctx context.Context, r io.Reader, dir int, o UnpackOptions) error {
	u := &unpacker{
		root: dir, at: parent{fd: -1}, o: o, opaque: opaqueName(o.Mapping),
		limits: o.Limits.withDefaults(), buf: make([]byte, 64<<10),
	}
	defer u.forget()
	in := &boundedReader{ctx: ctx, r: r, limit: u.limits.Bytes}
	if err := u.stream(in); err != nil {
		return err
	}
	return u.finishDirs(ctx)
}

// full names the directory where an error says that there is no room.
func full(dir string, err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return fmt.Errorf("no room below %s: %w", dir, err)
	}
	return err
}

type unpacker struct {
	root   int
	at     parent
	o      UnpackOptions
	opaque string
	limits Limits
	buf    []byte

	entries int64
	bytes   int64
	dirs    []dirTime
	names   int64           // memory that dirs takes
	leftOut map[string]bool // device nodes
	warned  int
}

// dirTime is a directory whose times are set when all that is in it is there.
type dirTime struct {
	name  string
	mtime time.Time
}

func (u *unpacker) stream(in *boundedReader) error {
	tr := tar.NewReader(in)
	for {
		hdr, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("read layer: %w", err)
		}
		if u.entries++; u.entries > u.limits.Entries {
			return fmt.Errorf("layer has more than %d entries", u.limits.Entries)
		}
		if err := u.entry(hdr, tr); err != nil {
			return fmt.Errorf("unpack %s: %w", quote(hdr.Name), err)
		}
	}
	// What follows the end of the archive belongs to the layer's digest.
	if _, err := io.Copy(io.Discard, in); err != nil {
		return fmt.Errorf("read layer: %w", err)
	}
	const endMark = 1024
	if u.o.Whole && in.zeroes < endMark {
		return fmt.Errorf("read layer: %w: the stream is cut short (%d bytes came)", io.ErrUnexpectedEOF, in.n)
	}
	return nil
}

// quote returns a name for an error message: printable, and not endless.
func quote(name string) string {
	const most = 200
	if len(name) > most {
		return fmt.Sprintf("%q…", name[:most])
	}
	return fmt.Sprintf("%q", name)
}

// cleanName returns name as a path relative to the layer's root, "." for the
// root itself. Absolute names are taken to be below it, as tar and docker do, and
// "a/../b" is b, whatever a is.
func cleanName(name string) (string, error) {
	if name == "" || strings.ContainsRune(name, 0) {
		return "", errors.New("malformed name")
	}
	depth := 0
	for part := range strings.SplitSeq(name, "/") {
		switch part {
		case "", ".":
		case "..":
			depth--
		default:
			depth++
		}
		if depth < 0 {
			return "", errors.New(`name with ".." that leads out`)
		}
		if len(part) > maxName {
			return "", fmt.Errorf("name has a part of more than %d bytes", maxName)
		}
	}
	name = path.Clean("/" + name)[1:]
	if len(name) > maxPath {
		return "", fmt.Errorf("name is longer than %d bytes", maxPath)
	}
	if name == "" {
		return ".", nil
	}
	return name, nil
}

func (u *unpacker) entry(hdr *tar.Header, content io.Reader) error {
	if hdr.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	name, err := cleanName(hdr.Name)
	if err != nil {
		return err
	}
	name = u.place(name)
	if name == "." {
		if hdr.Typeflag != tar.TypeDir {
			return errors.New("the root of a layer must be a directory")
		}
		return u.rootDir(hdr)
	}
	dir, base := path.Split(name)
	dir = path.Clean("/" + dir)[1:]
	plain := u.o.Plain || hdr.PAXRecords[paxPlain] != ""
	if !plain && belowWhiteout(dir) {
		return belowMeta(dir)
	}
	at, err := u.parent(dir)
	if err != nil {
		return err
	}
	if !plain && strings.HasPrefix(base, whPrefix) {
		return u.whiteout(at, base)
	}
	return u.make(target{at: at, base: base, name: name}, hdr, content)
}

// place is where an entry of a clean name goes.
func (u *unpacker) place(name string) string {
	if u.o.Into == nil || u.o.Into.As == "" {
		return name
	}
	return u.o.Into.As
}

// target is a name that an entry goes to: base in the directory open as at.
type target struct {
	at         int
	base, name string
}

func (u *unpacker) make(t target, hdr *tar.Header, content io.Reader) error {
	n, err := u.inode(hdr)
	if err != nil {
		return err
	}
	delete(u.leftOut, t.name)
	switch hdr.Typeflag {
	case tar.TypeReg, tar.TypeCont, tar.TypeGNUSparse:
		return u.file(t, &n, content)
	case tar.TypeDir:
		return u.dir(t, &n)
	case tar.TypeLink:
		return u.hardLink(t, hdr)
	case tar.TypeSymlink, tar.TypeFifo:
		return u.node(t, &n)
	case tar.TypeChar, tar.TypeBlock:
		return u.device(t, hdr)
	}
	return fmt.Errorf("entry of unknown type %q", hdr.Typeflag)
}

// warn tells what could not be kept, but not of every file of a large layer.
func (u *unpacker) warn(msg string) {
	const most = 10
	if u.warned++; u.o.Warn == nil || u.warned > most {
		return
	}
	if u.warned == most {
		msg += " (no more of these are shown)"
	}
	u.o.Warn(msg)
}

// device leaves a device node out: a sandbox has a /dev of its own, and to no
// other device. As elsewhere, what is left out does not make the image useless.
// A character device with the number 0 is overlayfs's form of a whiteout, which
// a layer has that was made of an overlay's files.
func (u *unpacker) device(t target, hdr *tar.Header) error {
	if hdr.Typeflag == tar.TypeChar && hdr.Devmajor == 0 && hdr.Devminor == 0 && !u.o.Plain {
		return u.whiteout(t.at, whPrefix+t.base)
	}
	if u.o.Into == nil {
		if _, _, err := u.clear(t, false); err != nil {
			return err
		}
	}
	const most = 10_000
	if len(u.leftOut) == most {
		return fmt.Errorf("more than %d device nodes", most)
	}
	if u.leftOut == nil {
		u.leftOut = make(map[string]bool)
	}
	u.leftOut[t.name] = true
	if !standardDevice(t.name) {
		u.warn(quote(t.name) + ": device node skipped: a sandbox has its own /dev")
	}
	return nil
}

// standardDevice tells the nodes that tools which make base systems put into
// /dev. A sandbox has a /dev of its own, so they are left out.
func standardDevice(name string) bool {
	switch name {
	case "dev/null", "dev/zero", "dev/full", "dev/random", "dev/urandom", "dev/tty", "dev/console", "dev/ptmx":
		return true
	}
	return false
}
