// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package dockerflag

import (
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
)

// Tmpfs is one --tmpfs. The zero options are docker's defaults: writable,
// noexec, nosuid, nodev, with the kernel's size and mode.
type Tmpfs struct {
	Path     string  `json:"path"`
	Size     int64   `json:"size,omitempty"`   // bytes; 0: the kernel's half of the memory
	Inodes   int64   `json:"inodes,omitempty"` // 0: the kernel's choice
	ReadOnly bool    `json:"readOnly,omitempty"`
	Exec     bool    `json:"exec,omitempty"`
	Suid     bool    `json:"suid,omitempty"`
	Mode     *uint32 `json:"mode,omitempty"` // permission bits with sticky, setuid, setgid
	UID      *uint32 `json:"uid,omitempty"`  // sandbox ids
	GID      *uint32 `json:"gid,omitempty"`
}

// ParseTmpfs parses PATH or PATH:OPTION[,OPTION…].
func ParseTmpfs(s string) (Tmpfs, error) {
	p, opts, _ := strings.Cut(s, ":")
	t := Tmpfs{Path: p}
	if err := checkTmpfsPath(p); err != nil {
		return Tmpfs{}, fmt.Errorf("parse tmpfs %q: %w", s, err)
	}
	if opts == "" {
		return t, nil
	}
	for o := range strings.SplitSeq(opts, ",") {
		if err := t.set(o); err != nil {
			return Tmpfs{}, fmt.Errorf("parse tmpfs %q: %w", s, err)
		}
	}
	return t, nil
}

func checkTmpfsPath(p string) error {
	switch {
	case !path.IsAbs(p):
		return errors.New("the path must be absolute")
	case path.Clean(p) != p:
		return fmt.Errorf("the path must be clean: write %s", path.Clean(p))
	case p == "/":
		return errors.New("the path cannot be the root")
	case strings.ContainsFunc(p, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return errors.New("the path has control characters")
	}
	return nil
}

func (t *Tmpfs) set(option string) error {
	key, value, has := strings.Cut(option, "=")
	if set := t.flag(key); set != nil && !has {
		set()
		return nil
	}
	var err error
	switch key {
	case "dev":
		return errors.New("option dev: device nodes are not possible in a sandbox")
	case "size":
		if strings.HasSuffix(value, "%") {
			return fmt.Errorf("option %s: a share of the host's memory; give bytes, as size=1g", option)
		}
		t.Size, err = ParseSize(value)
	case "nr_inodes":
		t.Inodes, err = ParseSize(value)
	case "mode":
		t.Mode, err = parseID(value, 8, 0o7777)
	case "uid":
		t.UID, err = parseID(value, 10, maxID)
	case "gid":
		t.GID, err = parseID(value, 10, maxID)
	default:
		return fmt.Errorf("unknown option %q (known: rw, ro, exec, noexec, suid, nosuid, nodev, size=, mode=, uid=, gid=, nr_inodes=)", option)
	}
	if err != nil {
		return fmt.Errorf("option %s: %w", option, err)
	}
	return nil
}

// flag returns what an option without a value does, nil if it is none.
func (t *Tmpfs) flag(key string) func() {
	switch key {
	case "rw":
		return func() { t.ReadOnly = false }
	case "ro":
		return func() { t.ReadOnly = true }
	case "exec":
		return func() { t.Exec = true }
	case "noexec":
		return func() { t.Exec = false }
	case "suid":
		return func() { t.Suid = true }
	case "nosuid":
		return func() { t.Suid = false }
	case "nodev", "relatime", "noatime", "strictatime", "atime":
		return func() {} // nodev always holds, access times change nothing
	}
	return nil
}

// maxID is the highest id: a sandbox has the ids 0 to 65535.
const maxID = 65535

func parseID(s string, base int, maximum uint64) (*uint32, error) {
	if s == "" || strings.ContainsAny(s, "+-_") {
		return nil, errors.New("not a number")
	}
	n, err := strconv.ParseUint(s, base, 32)
	if err != nil || n > maximum {
		return nil, fmt.Errorf("not a number from 0 to %s", strconv.FormatUint(maximum, base))
	}
	v := uint32(n)
	return &v, nil
}

// Options spells the options out, as --tmpfs takes them after the path.
func (t Tmpfs) Options() string {
	pick := func(on bool, yes, no string) string {
		if on {
			return yes
		}
		return no
	}
	opts := []string{
		pick(t.ReadOnly, "ro", "rw"), pick(t.Exec, "exec", "noexec"), pick(t.Suid, "suid", "nosuid"), "nodev",
	}
	if t.Size > 0 {
		opts = append(opts, "size="+strconv.FormatInt(t.Size, 10))
	}
	if t.Inodes > 0 {
		opts = append(opts, "nr_inodes="+strconv.FormatInt(t.Inodes, 10))
	}
	if t.Mode != nil {
		opts = append(opts, "mode="+strconv.FormatUint(uint64(*t.Mode), 8))
	}
	if t.UID != nil {
		opts = append(opts, "uid="+strconv.FormatUint(uint64(*t.UID), 10))
	}
	if t.GID != nil {
		opts = append(opts, "gid="+strconv.FormatUint(uint64(*t.GID), 10))
	}
	return strings.Join(opts, ",")
}
