// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package disk

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/atomicfile"
	"github.com/claude-pocket-console/cpc/internal/ownfile"
)

// keptTemplates is how many sizes are kept; each takes some 100 KiB.
const keptTemplates = 16

// makeImage makes o.Image, a sparse file with an empty ext4.
func makeImage(o Options) error {
	template, err := openTemplate(o.Templates, o.Size)
	if err != nil {
		return err
	}
	defer template.Close()
	image, err := os.OpenFile(o.Image, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	err = copySparse(image, template, o.Size)
	return errors.Join(err, image.Close())
}

// copySparse copies what a file holds, and only that.
func copySparse(to, from *os.File, size int64) error {
	if unix.IoctlFileClone(int(to.Fd()), int(from.Fd())) == nil {
		return nil
	}
	if err := to.Truncate(size); err != nil {
		return err
	}
	fd := int(from.Fd())
	for at := int64(0); ; {
		begin, err := unix.Seek(fd, at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return nil // nothing but a hole up to the end
		}
		if err != nil {
			return fmt.Errorf("copy %s: %w", from.Name(), err)
		}
		end, err := unix.Seek(fd, begin, unix.SEEK_HOLE)
		if err != nil {
			return fmt.Errorf("copy %s: %w", from.Name(), err)
		}
		part := io.NewSectionReader(from, begin, end-begin)
		if _, err := io.Copy(io.NewOffsetWriter(to, begin), part); err != nil {
			return fmt.Errorf("copy %s: %w", from.Name(), err)
		}
		at = end
	}
}

// openTemplate returns the empty file system of a size, and makes it where it
// is not there. It is complete when it has its name.
func openTemplate(dir string, size int64) (*os.File, error) {
	path := filepath.Join(dir, "1-"+strconv.FormatInt(size, 10)) // 1: how makeTemplate does it
	f, err := ownfile.Open(path)
	if err == nil {
		info, e := f.Stat()
		if e == nil && info.Size() == size {
			return f, nil
		}
		_ = f.Close() // of a host that crashed
	} else if !errors.Is(err, os.ErrNotExist) && !ownfile.IsStray(err) { // which is replaced
		return nil, err
	}
	if err := makeTemplate(dir, path, size); err != nil {
		return nil, fmt.Errorf("make file system: %w", err)
	}
	return ownfile.Open(path)
}

func makeTemplate(dir, path string, size int64) (err error) {
	mkfs, err := findProgram("mkfs.ext4")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return atomicfile.Replace(path, atomicfile.Options{}, func(f *os.File) error {
		if err := format(mkfs, f, size); err != nil {
			return err
		}
		forget(dir)
		return nil
	})
}

// format makes an empty file system.
func format(mkfs string, f *os.File, size int64) error {
	if err := f.Truncate(size); err != nil {
		return err
	}
	// Without a journal, as nobody looks at it after a crash, and without
	// blocks that only root may fill.
	out, err := exec.Command(mkfs, "-q", "-F", "-m", "0", "-L", "cpc-disk", "-O", "^has_journal,^resize_inode", //nolint:gosec // a system program
		"-E", "nodiscard,lazy_itable_init=1", f.Name()).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", mkfs, err, bytes.TrimSpace(out))
	}
	return nil
}

// forget removes templates when there are too many. Those in use stay open.
func forget(dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) < keptTemplates {
		return
	}
	for _, e := range entries[:len(entries)-keptTemplates/2] {
		_ = os.Remove(filepath.Join(dir, e.Name())) // made again when it is needed
	}
}

// findProgram also looks where a user's PATH does not lead.
func findProgram(name string) (string, error) {
	path, err := exec.LookPath(name)
	for _, dir := range []string{"/usr/sbin", "/sbin", "/usr/bin"} {
		if err == nil {
			break
		}
		path, err = exec.LookPath(filepath.Join(dir, name))
	}
	if err != nil {
		return "", fmt.Errorf("%s is not installed", name)
	}
	return path, nil
}
