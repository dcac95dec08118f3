// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package inode

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Capability is the attribute that holds a program's capabilities.
const Capability = "security.capability"

// Keeps reports whether an attribute is part of an image. All others would mean
// something to the host: overlayfs's own, labels, ACLs (which hold ids that
// nobody maps).
func Keeps(name string) bool {
	if name == Capability {
		return true
	}
	return strings.HasPrefix(name, "user.") && !strings.HasPrefix(name, "user.overlay.")
}

// Plain is an attribute's value as an image has it: a capability that is bound to
// a user namespace (revision 3) becomes one that is not (revision 2), as the
// kernel binds it to the namespace it is set in. See linux/capability.h.
func Plain(name, value string) string {
	const revision3, revision2, size2, size3 = 0x03000000, 0x02000000, 20, 24
	if name != Capability || len(value) != size3 {
		return value
	}
	magic := binary.LittleEndian.Uint32([]byte(value))
	if magic&0xff000000 != revision3 {
		return value
	}
	out := slices.Clone([]byte(value[:size2]))
	binary.LittleEndian.PutUint32(out, magic&0x00ffffff|revision2)
	return string(out)
}

// Attributes returns the attributes of an open file that belong to an image, and
// the names of all that it has.
func Attributes(fd int) (kept map[string]string, names []string, err error) {
	names, err = listAttributes(fd)
	if err != nil {
		return nil, nil, err
	}
	for _, name := range names {
		if !Keeps(name) {
			continue
		}
		value, err := Attribute(fd, name)
		if err != nil {
			return nil, nil, err
		}
		if kept == nil {
			kept = make(map[string]string)
		}
		kept[name] = Plain(name, value)
	}
	return kept, names, nil
}

func setAttributes(fd int, attrs map[string]string, refused func(string, error)) error {
	for name, value := range attrs {
		err := unix.Fsetxattr(fd, name, []byte(value), 0)
		switch {
		case err == nil:
		case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT), errors.Is(err, unix.E2BIG), errors.Is(err, unix.ERANGE),
			errors.Is(err, unix.ENOTSUP), errors.Is(err, unix.EPERM), errors.Is(err, unix.EINVAL):
			refused(name, err)
		default:
			return fmt.Errorf("set attribute %s: %w", name, err)
		}
	}
	return nil
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

// Attribute returns the value of an attribute of an open file.
func Attribute(fd int, name string) (string, error) {
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
