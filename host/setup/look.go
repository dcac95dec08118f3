// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package setup

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/claude-pocket-console/cpc/host"
	"github.com/claude-pocket-console/cpc/internal/idmap"
)

// Look finds out what there is already, for the user of the request; taken are
// the steps on record.
func Look(r Request, taken []Step) (State, error) {
	s := State{Files: map[string]string{}, Ours: map[string]string{}}
	for _, step := range taken {
		s.Ours[step.Path] = step.Content
	}
	if info, err := os.Stat("/run/systemd/system"); err == nil && info.IsDir() {
		s.Systemd = true
	}
	paths := dropIns()
	for _, extra := range r.Extra {
		paths = append(paths, extra.Path)
	}
	for _, path := range paths {
		content, err := os.ReadFile(filepath.Clean(path))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return s, err
		}
		s.Files[path] = string(content)
	}
	uids, gids, free := host.SubIDs(r.User, r.UID)
	s.HasUIDs, s.HasGIDs, s.FreeID = uids >= idmap.Size, gids >= idmap.Size, free
	if _, err := os.Stat("/var/lib/systemd/linger/" + r.User); err == nil && r.User != "" {
		s.Lingers = true
	}
	if !s.Systemd {
		return s, nil
	}
	// Where no user was named, any instance tells.
	unit := fmt.Sprintf("user@%d.service", r.UID)
	out, err := exec.Command("systemctl", "show", "-P", "DelegateControllers", unit).Output() //nolint:gosec // a number
	if err != nil {
		return s, fmt.Errorf("ask systemd what %s is delegated: %w", unit, err)
	}
	s.Delegates = strings.Fields(string(out))
	s.Running = exec.Command("systemctl", "--quiet", "is-active", unit).Run() == nil //nolint:gosec // a number
	return s, nil
}
