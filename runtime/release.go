// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/procstat"
)

// execFifo is where a container's init waits for its start, as libcontainer names
// it. Init writes a 0 to it. Package enter's then keeps it open until the command
// is executed, or writes why it cannot be: "ERRNO FILE".
const execFifo = "exec.fifo"

// maxExecError is more than init writes: a number, and a path.
const maxExecError = 2 * 4096

// release lets a container's init, of this pid, execute the command. dir is the
// container's. Of an init by package enter the error is an
// ErrCommandNotExecutable where it could not; libcontainer's says so to the
// container's stderr.
func release(dir string, pid int) error {
	fifo := filepath.Join(dir, execFifo)
	opened := make(chan error, 1)
	var f *os.File
	go func() {
		var err error
		f, err = os.OpenFile(fifo, os.O_RDONLY, 0) // waits for init
		opened <- err
	}()
	for {
		select {
		case err := <-opened:
			if err != nil {
				return fmt.Errorf("exec fifo: %w", err)
			}
			return takeRelease(f, fifo)
		case <-time.After(100 * time.Millisecond):
		}
		if stat, err := procstat.Read(pid); err == nil && stat.State != 'Z' {
			continue
		}
		// It may have gone on and ended since.
		late, err := os.OpenFile(fifo, os.O_RDONLY|unix.O_NONBLOCK, 0)
		if err == nil {
			err = takeRelease(late, fifo)
		}
		if err == nil || errors.Is(err, ErrCommandNotExecutable) {
			return err
		}
		return errors.New("container process is already dead")
	}
}

// takeRelease reads what init says, and removes the fifo.
func takeRelease(f *os.File, path string) error {
	said, err := io.ReadAll(io.LimitReader(f, maxExecError))
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("exec fifo: %w", err)
	}
	if len(said) == 0 {
		return errors.New("cannot start an already running container")
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("exec fifo: %w", err)
	}
	number, file, refused := strings.Cut(string(said[1:]), " ")
	if errno, err := strconv.ParseUint(number, 10, 12); refused && err == nil {
		return notExecuted(file, unix.Errno(errno))
	}
	return nil
}
