// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package files

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/rootfs/layer"
)

// Kind is what is copied.
type Kind string

// Kinds of sources.
const (
	File      Kind = "file"
	Directory Kind = "directory"
	Contents  Kind = "contents" // of a directory: its name ends with "/."
	Archive   Kind = "archive"  // a tar, to be unpacked in a directory
)

// Source is what a tar holds that is to be put somewhere.
type Source struct {
	Kind Kind   `json:"kind,omitempty"`
	Base string `json:"base,omitempty"` // its name, without directories
}

// place is a name in a directory.
type place struct {
	dir   *os.File // O_PATH
	base  string   // in dir; "." for dir itself
	name  string   // by which it was asked for: that of a link, for what it leads to
	mode  uint32   // 0: nothing is there
	slash bool     // it was asked for as a directory
}

func (p *place) there() bool { return p.mode != 0 }
func (p *place) isDir() bool { return p.mode&unix.S_IFMT == unix.S_IFDIR }

// copyable says why a source cannot be copied.
func (p *place) copyable() error {
	switch p.mode & unix.S_IFMT {
	case 0:
		return unix.ENOENT
	case unix.S_IFDIR:
		return nil
	case unix.S_IFREG, unix.S_IFLNK, unix.S_IFIFO:
		if p.slash {
			return unix.ENOTDIR
		}
		return nil
	}
	return errors.New("neither a file, a directory, a symbolic link nor a named pipe")
}

// open opens a directory of the tree.
func (t tree) open(path string) (*os.File, error) {
	const flags = unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC
	var fd int
	var err error
	for {
		if t.root == nil {
			fd, err = unix.Open(path, flags, 0)
		} else {
			fd, err = unix.Openat2(int(t.root.Fd()), path, &unix.OpenHow{
				Flags: flags, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
			})
		}
		// EAGAIN: something was renamed somewhere while ".." was resolved.
		if errors.Is(err, unix.EINTR) || errors.Is(err, unix.EAGAIN) {
			continue
		}
		if err != nil {
			return nil, err
		}
		return os.NewFile(uintptr(fd), path), nil
	}
}

// maxLinks is the kernel's bound on symbolic links in one name.
const maxLinks = 40

// find looks a name up, which need not be there, but for its directory. With follow, or
// with a slash at its end, it is what a symbolic link there leads to.
func (t tree) find(path string, follow bool) (*place, error) {
	asked, name := path, ""
	for range maxLinks {
		dir, base, slash := split(path)
		if base == "" { // "/", ".", ".." or with one of these at its end
			f, err := t.open(dir)
			if err != nil {
				return nil, &os.PathError{Op: "find", Path: asked, Err: err}
			}
			if name == "" {
				name = "."
			}
			return &place{dir: f, base: ".", name: name, mode: unix.S_IFDIR, slash: true}, nil
		}
		if name == "" {
			name = base
		}
		p, link, err := t.look(dir, base)
		if err != nil {
			return nil, &os.PathError{Op: "find", Path: asked, Err: err}
		}
		if link == "" || !follow && !slash {
			p.name, p.slash = name, slash
			return p, nil
		}
		_ = p.dir.Close()
		if path = link; link[0] != '/' {
			path = dir + "/" + link
		}
		if slash {
			path += "/"
		}
	}
	return nil, &os.PathError{Op: "find", Path: asked, Err: unix.ELOOP}
}

// split takes the last part off a name: the directory that it is in, which is never
// empty, and the part itself, which is where there is one.
func split(path string) (dir, base string, slash bool) {
	trimmed := strings.TrimRight(path, "/")
	slash = trimmed != path
	i := strings.LastIndexByte(trimmed, '/') + 1
	dir, base = trimmed[:i], trimmed[i:]
	switch {
	case base == "" || base == "." || base == "..":
		if path == "" {
			path = "."
		}
		return path, "", true
	case dir == "":
		dir = "."
	}
	return dir, base, slash
}

// look says what a name in a directory is, and where a symbolic link leads.
func (t tree) look(dir, base string) (*place, string, error) {
	f, err := t.open(dir)
	if err != nil {
		return nil, "", err
	}
	p := &place{dir: f, base: base}
	var st unix.Stat_t
	err = unix.Fstatat(int(f.Fd()), base, &st, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) {
		return p, "", nil
	}
	if err != nil {
		return nil, "", errors.Join(err, f.Close())
	}
	if p.mode = st.Mode; st.Mode&unix.S_IFMT != unix.S_IFLNK {
		return p, "", nil
	}
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(int(f.Fd()), base, buf)
	if err != nil {
		return nil, "", errors.Join(err, f.Close())
	}
	return p, string(buf[:n]), nil
}

// destination is where a tar is unpacked.
type destination struct {
	dir   *os.File
	as    string // the name of the one file; "" for a directory's contents
	fresh bool   // dir was made for this
}

// The rules that a destination can break.
var (
	errNoDirectory = errors.New("the destination directory must exist")
	errNeedsDir    = errors.New("the destination must be a directory")
	errOntoFile    = errors.New("cannot copy a directory to a file")
)

// checkBase refuses names that are not one part of a path.
func checkBase(base string) error {
	if base == "" || base == ".." || strings.ContainsAny(base, "/\x00") {
		return fmt.Errorf("malformed name %q", base)
	}
	return nil
}

// open says where a source goes, by docker's rules, and makes the directory that it becomes.
func (s Source) open(p *place) (*destination, error) {
	if s.Kind != Archive {
		if err := checkBase(s.Base); err != nil {
			return nil, err
		}
	}
	switch s.Kind {
	case File:
		return s.openFile(p)
	case Directory, Contents, Archive:
	default:
		return nil, fmt.Errorf("malformed order: kind %q", s.Kind)
	}
	switch {
	case !p.there() && s.Kind == Archive:
		return nil, errNoDirectory
	case !p.there():
		return makeDir(p.dir, p.base)
	case !p.isDir() && s.Kind == Archive:
		return nil, errNeedsDir
	case !p.isDir():
		return nil, errOntoFile
	}
	into, err := openDir(p.dir, p.base)
	if err != nil {
		return nil, err
	}
	if s.Kind != Directory || s.Base == "." {
		return &destination{dir: into}, nil
	}
	defer into.Close()
	return makeDir(into, s.Base)
}

func (s Source) openFile(p *place) (*destination, error) {
	switch {
	case !p.there() && p.slash:
		return nil, errNoDirectory
	case p.there() && p.slash && !p.isDir():
		return nil, unix.ENOTDIR
	case p.isDir():
		into, err := openDir(p.dir, p.base)
		if err != nil {
			return nil, err
		}
		return &destination{dir: into, as: s.Base}, nil
	}
	into, err := openDir(p.dir, ".")
	if err != nil {
		return nil, err
	}
	return &destination{dir: into, as: p.base}, nil
}

// makeDir makes a directory, or takes the one that is there.
func makeDir(at *os.File, base string) (*destination, error) {
	err := unix.Mkdirat(int(at.Fd()), base, 0o700)
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, err
	}
	dir, openErr := openDir(at, base)
	if errors.Is(openErr, unix.ENOTDIR) || errors.Is(openErr, unix.ELOOP) {
		openErr = layer.ErrReplacesFile
	}
	if openErr != nil {
		return nil, openErr
	}
	return &destination{dir: dir, fresh: err == nil}, nil
}

func openDir(at *os.File, base string) (*os.File, error) {
	fd, err := unix.Openat(int(at.Fd()), base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), base), nil
}
