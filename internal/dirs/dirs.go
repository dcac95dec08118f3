// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Package dirs says where cpc keeps its files: images and scratch space in a
// data directory, live sandboxes in a state directory that a reboot empties.
// Both belong to one user and are closed to all others.
package dirs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// Dirs are the two roots of cpc's files, both absolute.
type Dirs struct {
	Data  string `json:"data"`  // images, layers, build cache, scratch, logs
	State string `json:"state"` // records and sockets of sandboxes
}

// Find returns the directories of the calling user and creates them with mode
// 0700. CPC_DATA_DIR and CPC_STATE_DIR take precedence over the XDG variables.
func Find() (Dirs, error) {
	d, err := locate(os.Getuid(), os.Getenv)
	if err != nil {
		return Dirs{}, err
	}
	if d.Data, err = followed(d.Data); err != nil {
		return Dirs{}, err
	}
	for _, dir := range []string{d.Data, d.State} {
		if err := private(dir); err != nil {
			return Dirs{}, err
		}
	}
	return d, nil
}

// followed returns what the data directory is a symbolic link to, such as a
// directory on a larger disk. Only the caller or root may have made the link. The
// state directory may be in /tmp, and is never a link.
func followed(dir string) (string, error) {
	info, err := os.Lstat(dir)
	if err != nil || info.Mode().Type() != os.ModeSymlink {
		return dir, nil //nolint:nilerr // it is made, or cannot be, later
	}
	if st, ok := info.Sys().(*syscall.Stat_t); !ok || int(st.Uid) != os.Getuid() && st.Uid != 0 {
		return "", fmt.Errorf("directory %s: it is a symbolic link that neither uid %d nor root has made", dir, os.Getuid())
	}
	to, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return "", fmt.Errorf("directory %s: it is a symbolic link to nothing that can be used: %w", dir, err)
	}
	return to, nil
}

func locate(uid int, env func(string) string) (Dirs, error) {
	d := Dirs{Data: env("CPC_DATA_DIR"), State: env("CPC_STATE_DIR")}
	if d.Data == "" {
		switch {
		case uid == 0:
			d.Data = "/var/lib/cpc"
		case env("XDG_DATA_HOME") != "":
			d.Data = filepath.Join(env("XDG_DATA_HOME"), "cpc")
		case env("HOME") != "":
			d.Data = filepath.Join(env("HOME"), ".local/share/cpc")
		default:
			return Dirs{}, errors.New("data directory: neither CPC_DATA_DIR, XDG_DATA_HOME nor HOME is set")
		}
	}
	if d.State == "" {
		d.State = stateDir(uid, env("XDG_RUNTIME_DIR"))
	}
	for _, dir := range []string{d.Data, d.State} {
		if !filepath.IsAbs(dir) {
			return Dirs{}, fmt.Errorf("directory %s: must be absolute", dir)
		}
	}
	return Dirs{Data: filepath.Clean(d.Data), State: filepath.Clean(d.State)}, nil
}

// stateDir prefers the session's runtime directory; without a login session
// there is none, and a private directory in /tmp has to do, as it does for podman.
func stateDir(uid int, runtimeDir string) string {
	if uid == 0 {
		return "/run/cpc"
	}
	if runtimeDir == "" || !ownedBy(runtimeDir, uid) {
		runtimeDir = Runtime(uid)
	}
	if runtimeDir != "" {
		return filepath.Join(runtimeDir, "cpc")
	}
	return filepath.Join(os.TempDir(), "cpc-run-"+strconv.Itoa(uid))
}

func ownedBy(dir string, uid int) bool {
	info, err := os.Stat(dir)
	if err != nil || !info.IsDir() {
		return false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == uid
}

// private makes dir, or checks that an existing one is a directory of ours
// that nobody else can enter: in /tmp another user may have been there first.
func private(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("create directory %s: %w", dir, err)
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return fmt.Errorf("check directory %s: %w", dir, err)
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if info.Mode().Type() == os.ModeSymlink {
		return fmt.Errorf("directory %s: it is a symbolic link, which only the data directory may be", dir)
	}
	if !ok || !info.IsDir() || int(st.Uid) != os.Getuid() {
		return fmt.Errorf("directory %s: does not belong to uid %d; move it away or set CPC_STATE_DIR or CPC_DATA_DIR", dir, os.Getuid())
	}
	if info.Mode().Perm()&0o077 == 0 {
		return nil
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return fmt.Errorf("close directory %s to others: %w", dir, err)
	}
	return nil
}
