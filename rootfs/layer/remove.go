// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package layer

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// Remove removes the tree at name, which need not exist. It holds two
// descriptors at most, however deep the tree is: a directory that is not empty
// is first moved up, beside the top, so nothing is ever recursed into. A tree
// that was partly removed has a sibling called name + ".rm".
func Remove(name string) error {
	dir, base := filepath.Split(filepath.Clean(name))
	if dir == "" {
		dir = "."
	}
	at, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err == nil {
		err = errors.Join(removeAt(at, base), unix.Close(at))
	}
	if err != nil {
		return fmt.Errorf("remove %s: %w", name, err)
	}
	return nil
}

func removeAt(at int, base string) error {
	trash := base + ".rm"
	for _, top := range []string{trash, base} {
		if done, err := removeSimple(at, top); done || err != nil {
			if err != nil {
				return err
			}
			continue
		}
		if err := removeBeside(at, top, trash); err != nil {
			return err
		}
	}
	return nil
}

// removeSimple removes what is no directory or an empty one.
func removeSimple(at int, base string) (done bool, err error) {
	err = unix.Unlinkat(at, base, 0)
	if errors.Is(err, unix.EISDIR) || errors.Is(err, unix.EPERM) {
		err = unix.Unlinkat(at, base, unix.AT_REMOVEDIR)
	}
	switch {
	case err == nil, errors.Is(err, unix.ENOENT):
		return true, nil
	case errors.Is(err, unix.ENOTEMPTY), errors.Is(err, unix.EEXIST):
		return false, nil
	}
	return false, fmt.Errorf("%s: %w", quote(base), err)
}

// removeBeside empties and removes the directory top by way of the directory
// trash, where directories wait for their turn under a number.
func removeBeside(at int, top, trash string) error {
	queue, err := openTrash(at, trash)
	if err != nil {
		return err
	}
	next := 0
	if top == trash {
		// Left by a run that was cut short; numbers in use are passed over.
		err = emptyInto(queue, ".", queue, &next)
	} else {
		err = unix.Renameat(at, top, queue, "top") //nolint:forbidigo // what is removed moves to the queue
		if err == nil {
			err = emptyInto(queue, "top", queue, &next)
		}
	}
	for i := 0; err == nil && i < next; i++ {
		err = emptyInto(queue, strconv.Itoa(i), queue, &next)
	}
	if err = errors.Join(err, unix.Close(queue)); err != nil {
		return err
	}
	return unix.Unlinkat(at, trash, unix.AT_REMOVEDIR)
}

func openTrash(at int, trash string) (int, error) {
	if err := unix.Mkdirat(at, trash, 0o700); err != nil && !errors.Is(err, unix.EEXIST) {
		return -1, err
	}
	return openDir(at, trash)
}

// emptyInto removes the directory name in at, moving its directories to queue.
func emptyInto(at int, name string, queue int, next *int) error {
	fd, err := openDir(at, name)
	if errors.Is(err, unix.EACCES) {
		if err = unix.Fchmodat(at, name, 0o700, 0); err == nil {
			fd, err = openDir(at, name)
		}
	}
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	d := os.NewFile(uintptr(fd), name)
	names, err := d.Readdirnames(-1)
	for _, n := range names {
		if err != nil {
			break
		}
		err = removeOrMove(fd, n, queue, next)
	}
	if err = errors.Join(err, d.Close()); err != nil || name == "." {
		return err
	}
	return unix.Unlinkat(at, name, unix.AT_REMOVEDIR)
}

func removeOrMove(fd int, name string, queue int, next *int) error {
	done, err := removeSimple(fd, name)
	if done || err != nil {
		return err
	}
	for {
		to := strconv.Itoa(*next)
		*next++
		err := unix.Renameat2(fd, name, queue, to, unix.RENAME_NOREPLACE) //nolint:forbidigo // see above
		if errors.Is(err, unix.EEXIST) {
			continue
		}
		return err
	}
}
