// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package userns

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/idmap"
	"github.com/claude-pocket-console/cpc/internal/ownfile"
)

// Root's sandboxes get ids above what useradd hands out as subordinate ranges
// (login.defs(5): SUB_UID_MAX is 600100000) and within what systemd sets aside
// for containers (systemd's UIDS-GIDS page: 524288 to 1879048191).
const (
	firstBase = 0x24000000
	lastBase  = 0x6fff0000
)

// ErrNoFreeRange reports that every range is taken by a running sandbox.
var ErrNoFreeRange = errors.New("all id ranges are in use")

// TakeRange reserves an id range that no other sandbox of root's has, for as
// long as the returned file, or a copy of it in a child, stays open.
func TakeRange(stateDir string) (base uint32, held *os.File, err error) {
	dir := filepath.Join(stateDir, "idranges")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return 0, nil, fmt.Errorf("id range: %w", err)
	}
	for base := uint32(firstBase); base <= lastBase; base += idmap.Size {
		f, err := ownfile.OpenFile(filepath.Join(dir, strconv.Itoa(int(base))), os.O_CREATE|os.O_RDWR, 0o600)
		if ownfile.IsStray(err) {
			continue // there are enough others
		}
		if err != nil {
			return 0, nil, fmt.Errorf("id range: %w", err)
		}
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return base, f, nil
		}
		_ = f.Close()
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return 0, nil, fmt.Errorf("id range: %w", err)
		}
	}
	return 0, nil, ErrNoFreeRange
}
