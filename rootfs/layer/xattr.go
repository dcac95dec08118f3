// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package layer

import (
	"archive/tar"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	paxXattr   = "SCHILY.xattr."
	capability = "security.capability"
)

// keepAttribute tells the attributes that are part of an image. All others
// would mean something to the host: overlayfs's own, labels, ACLs (which hold
// ids that nobody maps).
func keepAttribute(name string) bool {
	if name == capability {
		return true
	}
	return strings.HasPrefix(name, "user.") && !strings.HasPrefix(name, "user.overlay.")
}

// setAttributes sets what the entry has. A kernel or file system that refuses
// one is reported, not an error: the files are usable without.
func (u *unpacker) setAttributes(fd int, hdr *tar.Header) error {
	for key, value := range hdr.PAXRecords {
		name, ok := strings.CutPrefix(key, paxXattr)
		if !ok || !keepAttribute(name) {
			continue
		}
		data := []byte(value)
		if name == capability {
			data = plainCapability(data)
		}
		err := unix.Fsetxattr(fd, name, data, 0)
		switch {
		case err == nil:
		case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT), errors.Is(err, unix.E2BIG), errors.Is(err, unix.ERANGE),
			errors.Is(err, unix.ENOTSUP), errors.Is(err, unix.EPERM), errors.Is(err, unix.EINVAL):
			u.warn(fmt.Sprintf("%s: attribute %s not kept: %v", quote(hdr.Name), quote(name), err))
		default:
			return fmt.Errorf("set attribute %s: %w", quote(name), err)
		}
	}
	return nil
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

// plainCapability turns a capability that is bound to a user namespace
// (revision 3) into one that is not (revision 2): the kernel binds it to the
// namespace it is set in. See linux/capability.h.
func plainCapability(data []byte) []byte {
	const revision3, revision2, size2, size3 = 0x03000000, 0x02000000, 20, 24
	if len(data) != size3 {
		return data
	}
	magic := binary.LittleEndian.Uint32(data)
	if magic&0xff000000 != revision3 {
		return data
	}
	out := slices.Clone(data[:size2])
	binary.LittleEndian.PutUint32(out, magic&0x00ffffff|revision2)
	return out
}

// attributes returns the attributes of an open file that belong into a layer,
// and whether it is an opaque directory.
func attributes(fd int, opaqueAttr string) (kept map[string]string, opaque bool, err error) {
	names, err := listAttributes(fd)
	if err != nil {
		return nil, false, err
	}
	for _, name := range names {
		switch {
		case name == opaqueAttr:
			value, err := getAttribute(fd, name)
			if err != nil {
				return nil, false, err
			}
			opaque = value == "y"
		case strings.HasSuffix(name, ".overlay.redirect"), strings.HasSuffix(name, ".overlay.metacopy"):
			return nil, false, fmt.Errorf("attribute %s: the overlay was not mounted by this program", name)
		case keepAttribute(name):
			value, err := getAttribute(fd, name)
			if err != nil {
				return nil, false, err
			}
			if name == capability {
				value = string(plainCapability([]byte(value)))
			}
			if kept == nil {
				kept = make(map[string]string)
			}
			kept[name] = value
		}
	}
	return kept, opaque, nil
}

func listAttributes(fd int) ([]string, error) {
	buf := make([]byte, 1024)
	for {
		n, err := unix.Flistxattr(fd, buf)
		if errors.Is(err, unix.ERANGE) {
			buf = make([]byte, 4*len(buf))
			continue
		}
		if errors.Is(err, unix.ENOTSUP) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("list attributes: %w", err)
		}
		return strings.FieldsFunc(string(buf[:n]), func(r rune) bool { return r == 0 }), nil
	}
}

func getAttribute(fd int, name string) (string, error) {
	buf := make([]byte, 1024)
	for {
		n, err := unix.Fgetxattr(fd, name, buf)
		if errors.Is(err, unix.ERANGE) {
			buf = make([]byte, 8*len(buf))
			continue
		}
		if err != nil {
			return "", fmt.Errorf("get attribute %s: %w", name, err)
		}
		return string(buf[:n]), nil
	}
}
