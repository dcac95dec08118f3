// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
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

// writePidFile writes a process's pid so that no reader sees half of it.
func writePidFile(path string, p process) (err error) {
	pid, err := p.Pid()
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return fmt.Errorf("pid file: %w", err)
	}
	_, err = f.WriteString(strconv.Itoa(pid))
	if err == nil {
		err = f.Chmod(0o644)
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("pid file: %w", errors.Join(err, os.Remove(f.Name())))
	}
	return nil
}
