// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package setup

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/claude-pocket-console/cpc/internal/atomicfile"
	"github.com/claude-pocket-console/cpc/internal/idmap"
)

// lockTimeout is how long another program may change a file of ranges.
const lockTimeout = 15 * time.Second

// removeRanges takes the step's ranges away. usermod does not, as long as the
// user has any process, such as the shell in which sudo was typed.
func (h Host) removeRanges(s Step) error {
	var errs []error
	line := fmt.Sprintf("%s:%d:%d", s.User, s.First, idmap.Size)
	for _, f := range []struct {
		wanted bool
		path   string
	}{{s.UIDs, "/etc/subuid"}, {s.GIDs, "/etc/subgid"}} {
		if f.wanted {
			errs = append(errs, removeLine(h.Root+f.path, line))
		}
	}
	return errors.Join(errs...)
}

// removeLine removes a line of a file of shadow's, under the lock that its
// programs take (a file beside it, which holds the pid; putspent(3), lckpwdf(3)).
func removeLine(path, line string) (err error) {
	lock := path + ".lock"
	deadline := time.Now().Add(lockTimeout)
	for {
		f, err := os.OpenFile(lock, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600) //nolint:gosec // beside a file of /etc
		if err == nil {
			_, err = f.WriteString(strconv.Itoa(os.Getpid()) + "\x00")
			if err := errors.Join(err, f.Close()); err != nil {
				return errors.Join(err, os.Remove(lock))
			}
			break
		}
		if !errors.Is(err, os.ErrExist) || time.Now().After(deadline) {
			return fmt.Errorf("lock %s: %w", path, err)
		}
		time.Sleep(100 * time.Millisecond)
	}
	defer func() { err = errors.Join(err, os.Remove(lock)) }()
	data, err := os.ReadFile(path) //nolint:gosec // a file of /etc
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	lines := strings.SplitAfter(string(data), "\n")
	i := slices.IndexFunc(lines, func(l string) bool { return strings.TrimSpace(l) == line })
	if i < 0 {
		return nil
	}
	left := strings.Join(slices.Delete(lines, i, i+1), "")
	return atomicfile.Replace(path, atomicfile.Options{Mode: 0o644, Keep: true}, atomicfile.Content([]byte(left)))
}
