// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/atomicfile"
)

// checkPidFile says what would keep writePidFile from writing there. It is
// asked before a program runs; "" is no file.
func checkPidFile(path string) error {
	if path == "" {
		return nil
	}
	err := unix.Faccessat(unix.AT_FDCWD, filepath.Dir(path)+"/.", unix.W_OK|unix.X_OK, unix.AT_EACCESS)
	var st unix.Stat_t
	if err == nil && unix.Lstat(path, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR {
		err = unix.EISDIR
	}
	if err != nil {
		return fmt.Errorf("pid file: %w", &os.PathError{Op: "open", Path: path, Err: err})
	}
	return nil
}

// writePidFile writes the process's pid. When it fails, the process is gone.
func (s *supervisor) writePidFile(path string) error {
	if path == "" {
		return nil
	}
	err := writePidFile(path, s.process)
	if err != nil {
		s.abandon()
	}
	return err
}

// abandon ends the process.
func (s *supervisor) abandon() {
	_ = s.process.Signal(unix.SIGKILL) // ignored: it may have ended by itself
	_, _ = s.process.Wait()
	s.stdio.close() // waits for the last output
}

// writePidFile writes a process's pid so that no reader sees half of it. A device
// or pipe stays what it is.
func writePidFile(path string, p process) error {
	pid, err := p.Pid()
	if err != nil {
		return err
	}
	o := atomicfile.Options{Mode: 0o644, Volatile: true}
	text := atomicfile.Content([]byte(strconv.Itoa(pid)))
	// A link is replaced: the directory may be that of a less trusted user.
	write := atomicfile.Replace
	if st, err := os.Lstat(path); err == nil && st.Mode()&(fs.ModeDevice|fs.ModeNamedPipe) != 0 {
		write = atomicfile.Named
	}
	if err := write(path, o, text); err != nil {
		return fmt.Errorf("pid file: %w", err)
	}
	return nil
}
