// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Package files copies files into running sandboxes and out of them. Nothing of the
// image is needed for it: a sandbox of FROM scratch will do.
//
// # Theory of operation
//
// A helper, a copy of cpc that the sandbox's monitor starts, reads and writes the
// sandbox's files; between it and whoever asked there is only a tar stream. It is
// confined before it looks at any of them (confine.go):
//
//   - It is in the sandbox's cgroup: memory and processor time are the sandbox's.
//   - It has a user namespace of its own with the sandbox's ids, in which it is the
//     sandbox's root, with the four capabilities that files need. So quotas, full
//     disks and read-only mounts mean to it what they mean in there.
//   - It joins no namespace of the sandbox. Its pid namespace is its own, so nothing
//     in the sandbox can name it: not signal it, not trace it, not see it. Its network
//     has no device, and its mount namespace is empty.
//   - What it has of the sandbox is one descriptor, of the root directory. Names are
//     resolved below it by openat2(2) with RESOLVE_IN_ROOT and RESOLVE_NO_MAGICLINKS:
//     the kernel itself keeps "..", absolute links and renames at that moment inside.
//     Mounts are followed, as the descriptor's mount belongs to the sandbox's namespace.
//   - It executes nothing.
//
// The other side reads and writes the caller's files (Local). It treats the stream as
// hostile: whatever it says goes below the directory, or is the one file, that was asked
// for, and set-id bits and capabilities do not come out of a sandbox.
//
// Both sides follow docker's rules (place.go), and both walk and write by rootfs/layer.
// Files are copied while the sandbox uses them: what vanishes meanwhile is left out.
package files

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/idmap"
	"github.com/claude-pocket-console/cpc/rootfs/layer"
)

// What an order asks for.
const (
	Get = "get" // a tar of Path
	Put = "put" // unpack a tar to Path
)

// Order is what a helper is to do.
type Order struct {
	Do   string `json:"do"`
	Path string `json:"path"` // in the sandbox
	// Follow: what a symbolic link at the end of Path leads to. Put always follows.
	Follow bool `json:"follow,omitempty"`
	// Named: the tar calls a directory by its name, and not ".".
	Named bool `json:"named,omitempty"`
	// Source is what is put there.
	Source Source `json:"source"`
	// Owner owns what is put there; nil keeps what the tar says.
	Owner *layer.Owner `json:"owner,omitempty"`
	// User is who is to own it, by the sandbox's files: the monitor looks its Owner up.
	User string `json:"user,omitempty"`
	// Single: the sandbox has one id only. The monitor says.
	Single bool `json:"single,omitempty"`
}

// Found is what a helper says of a source, in a line before the tar.
type Found struct {
	Dir  bool   `json:"dir"`
	Base string `json:"base"` // its name; "." where it has none
}

// maxFound bounds that line.
const maxFound = 16 << 10

// tree is what names are looked up in.
type tree struct {
	root *os.File // nil: the caller's own
}

// Send writes what the order asks for below root: a line with what was found, and a tar.
func Send(ctx context.Context, w io.Writer, root *os.File, o *Order) error {
	return tree{root}.send(ctx, w, o, layer.PackOptions{Mapping: o.mapping(), Live: true})
}

// mapping is how the helper sees the sandbox's ids: as the sandbox does.
func (o *Order) mapping() idmap.Mapping {
	if o.Single {
		return idmap.ForSingle()
	}
	return idmap.ForRoot(0)
}

func (t tree) send(ctx context.Context, w io.Writer, o *Order, how layer.PackOptions) error {
	p, err := t.find(o.Path, o.Follow)
	if err != nil {
		return err
	}
	defer p.dir.Close()
	if err := p.copyable(); err != nil {
		return &os.PathError{Op: "copy", Path: o.Path, Err: err}
	}
	from := layer.Source{Dir: int(p.dir.Fd()), Name: p.base, As: p.name}
	if p.isDir() && !o.Named {
		from.As = "."
	}
	line, err := json.Marshal(Found{Dir: p.isDir(), Base: p.name})
	if err != nil {
		return err
	}
	buf := bufio.NewWriterSize(w, 256<<10)
	if _, err := buf.Write(append(line, '\n')); err != nil {
		return err
	}
	if err := layer.PackFrom(ctx, buf, from, how); err != nil {
		return err
	}
	return buf.Flush()
}

// Receive unpacks a tar below root as the order says.
func Receive(ctx context.Context, r io.Reader, root *os.File, o *Order) error {
	return tree{root}.receive(ctx, r, o, layer.Into{Owner: o.Owner})
}

func (t tree) receive(ctx context.Context, r io.Reader, o *Order, into layer.Into) error {
	p, err := t.find(o.Path, true)
	if err != nil {
		return err
	}
	defer p.dir.Close()
	d, err := o.Source.open(p)
	if err != nil {
		return &os.PathError{Op: "copy to", Path: o.Path, Err: err}
	}
	defer d.dir.Close()
	into.As, into.New = d.as, d.fresh
	err = layer.UnpackAt(ctx, bufio.NewReaderSize(r, 256<<10), int(d.dir.Fd()), layer.UnpackOptions{
		Mapping: o.mapping(), Whole: true, Plain: true, Into: &into,
	})
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		err = fmt.Errorf("%s: %w", o.Path, err)
	}
	return err
}

// Tar lets send write what [Send] writes, and passes on the tar without the line before it.
func Tar(w io.Writer, send func(io.Writer) error) error {
	t := &tarOnly{w: w}
	if err := send(t); err != nil {
		return err
	}
	if !t.begun {
		return errors.New("copy: no answer")
	}
	return nil
}

type tarOnly struct {
	w     io.Writer
	line  []byte // so far
	begun bool   // the tar: the line is over
}

// Write implements io.Writer.
func (t *tarOnly) Write(p []byte) (int, error) {
	if t.begun {
		return t.w.Write(p)
	}
	line, tar, over := bytes.Cut(p, []byte{'\n'})
	if t.line = append(t.line, line...); len(t.line) > maxFound {
		return 0, errTooLong
	}
	if !over {
		return len(p), nil
	}
	if _, err := parseFound(t.line); err != nil {
		return 0, err
	}
	t.begun = true
	n, err := t.w.Write(tar)
	return len(p) - len(tar) + n, err
}

var errTooLong = errors.New("copy: the answer is too long")

// ReadFound reads the line before the tar.
func ReadFound(r *bufio.Reader) (f Found, err error) {
	var line []byte
	for {
		b, err := r.ReadByte()
		if err != nil {
			return f, fmt.Errorf("copy: no answer: %w", err)
		}
		if b == '\n' {
			break
		}
		if line = append(line, b); len(line) > maxFound {
			return f, errTooLong
		}
	}
	return parseFound(line)
}

func parseFound(line []byte) (f Found, err error) {
	if err := json.Unmarshal(line, &f); err != nil {
		return f, fmt.Errorf("copy: %w", err)
	}
	return f, checkBase(f.Base)
}
