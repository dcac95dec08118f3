// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

const (
	lockPatience = 15 * time.Second // longer than delete --force waits for a killed init
	lockPoll     = 10 * time.Millisecond
)

// lockUse is what a lock is taken for.
type lockUse int

const (
	changes lockUse = iota // something, in its own time
	makes                  // or starts a container, until delete --force comes
	forces                 // its deletion, and ends who makes it
)

// idLock excludes other operations that change the container of one id.
type idLock struct{ file *os.File }

// lock takes the lock of id, creating the state directory if need be. It gives
// up after lockPatience, so that a hook which calls back cannot hang for ever.
func (d states) lock(id string, as lockUse) (*idLock, error) {
	if err := d.checkRoot(); err != nil {
		return nil, err
	}
	if err := checkID(id); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(string(d), 0o700); err != nil {
		return nil, err
	}
	path := filepath.Join(string(d), lockName(id))
	begin := time.Now()
	for deadline := begin.Add(lockPatience); ; {
		l, err := tryLock(path)
		if err == nil {
			if err = l.sign(as == makes); err != nil {
				return nil, errors.Join(err, l.file.Close())
			}
			return l, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, err
		}
		if as == forces && time.Since(begin) > makePatience {
			if h, ok := readHolder(path); ok {
				if err := h.end(); err != nil {
					return nil, err
				}
			}
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("lock %s: held by another operation for %v", path, lockPatience)
		}
		time.Sleep(lockPoll)
	}
}

// tryLock fails with EWOULDBLOCK when the lock is held, and also when its file
// was removed between open and flock.
func tryLock(path string) (*idLock, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil && !sameFile(f, path) {
		err = unix.EWOULDBLOCK
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &idLock{file: f}, nil
}

func sameFile(f *os.File, path string) bool {
	held, err := f.Stat()
	if err != nil {
		return false
	}
	there, err := os.Lstat(path)
	return err == nil && os.SameFile(held, there)
}

// release gives the lock up. The file is removed when no container is left, so
// that state directories do not collect lock files.
func (l *idLock) release(containerDir string) error {
	var err error
	if _, serr := os.Lstat(containerDir); errors.Is(serr, os.ErrNotExist) {
		err = os.Remove(l.file.Name())
	}
	return errors.Join(err, l.file.Close())
}

// lockName is the name of an id's lock file: "@" cannot occur in an id. That of a
// long id, which is to be no longer than a name may be, is its hash.
func lockName(id string) string {
	const suffix = "@lock"
	if len(id)+len(suffix) <= maxName {
		return id + suffix
	}
	sum := sha256.Sum256([]byte(id))
	return "@" + hex.EncodeToString(sum[:]) + suffix
}

// locked runs op under the lock of id.
func (d states) locked(id string, as lockUse, op func() error) (err error) {
	l, err := d.lock(id, as)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.release(filepath.Join(string(d), id))) }()
	return op()
}
