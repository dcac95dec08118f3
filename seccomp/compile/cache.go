// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/opencontainers/runc/libcontainer/configs"
	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/atomicfile"
)

const maxFilters = 16 // some 5 KiB each

// Cache is a directory in which compiled profiles are kept. It is made when it is
// needed, for its user alone.
type Cache struct{ Dir string }

// Filter compiles a profile, libcontainer's as JSON, or finds it compiled. What is
// found was written by this user, whole, for this very profile. No profile, or
// "null", is no filter.
func (c Cache) Filter(profile []byte) (*Filter, error) {
	if len(profile) == 0 || string(profile) == "null" {
		return nil, nil
	}
	sum := sha256.Sum256(append([]byte(version()+"\n"), profile...))
	path := filepath.Join(c.Dir, hex.EncodeToString(sum[:]))
	if f, err := readFilter(path); err == nil {
		return f, nil
	}
	var p configs.Seccomp
	if err := json.Unmarshal(profile, &p); err != nil {
		return nil, err
	}
	f, err := Profile(&p)
	if err != nil {
		return nil, err
	}
	_ = keepFilter(path, f.Encode()) // ignored: it is for speed alone
	return f, nil
}

func readFilter(path string) (*Filter, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.Mode().IsRegular() || info.Mode().Perm() != 0o600 || int(stat.Uid) != os.Geteuid() || info.Size() > 1<<16 {
		return nil, fmt.Errorf("%s: not this user's", path)
	}
	data, err := io.ReadAll(io.LimitReader(f, 1<<16))
	if err != nil {
		return nil, err
	}
	return Decode(data)
}

// keepFilter writes a file whole or not at all, and removes the oldest of many.
func keepFilter(path string, data []byte) error {
	dir := filepath.Dir(path)
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	if err := thin(dir, maxFilters-1); err != nil {
		return err
	}
	return atomicfile.Replace(path, atomicfile.Options{Volatile: true}, atomicfile.Content(data))
}

// thin removes the oldest files of a directory, so that n are left.
func thin(dir string, n int) error {
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) <= n {
		return err
	}
	age := func(e os.DirEntry) int64 {
		info, err := e.Info()
		if err != nil {
			return 0 // gone meanwhile
		}
		return info.ModTime().UnixNano()
	}
	slices.SortFunc(entries, func(a, b os.DirEntry) int { return int(min(max(age(a)-age(b), -1), 1)) })
	for _, e := range entries[:len(entries)-n] {
		err = errors.Join(err, os.Remove(filepath.Join(dir, e.Name())))
	}
	return err
}
