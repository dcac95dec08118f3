// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package userns

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"strconv"

	moby "github.com/moby/sys/user"

	"github.com/claude-pocket-console/cpc/internal/hint"
	"github.com/claude-pocket-console/cpc/internal/idmap"
)

// Reasons why only one id can be mapped. Each is a state of the host that an
// administrator can mend.
var (
	ErrNoHelper = hint.New("newuidmap and newgidmap are not installed",
		"Install them: sudo apt-get install uidmap")
	ErrNoRange = hint.New("no subordinate id range of 65536 ids in /etc/subuid and /etc/subgid",
		"Assign a range to your user: sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 \"$USER\"")
)

// Range is a subordinate id range of the user.
type Range struct{ First, Count int }

// IDs is what the calling user can map into U0.
type IDs struct {
	Mode   idmap.Mode
	UID    Range // zero in Root and Single mode
	GID    Range
	Reason error // why the mode is Single, else nil
}

// Discover finds out how the ids of sandboxes can be backed for this process.
// It never fails: without a range the mode is Single and Reason says why.
func Discover() IDs {
	if os.Geteuid() == 0 {
		return IDs{Mode: idmap.Root}
	}
	for _, helper := range []string{"newuidmap", "newgidmap"} {
		if _, err := exec.LookPath(helper); err != nil {
			return IDs{Mode: idmap.Single, Reason: ErrNoHelper}
		}
	}
	name, uid := currentUser()
	uids, err := findRange("/etc/subuid", name, uid)
	if err != nil {
		return IDs{Mode: idmap.Single, Reason: err}
	}
	gids, err := findRange("/etc/subgid", name, uid)
	if err != nil {
		return IDs{Mode: idmap.Single, Reason: err}
	}
	return IDs{Mode: idmap.Mapped, UID: uids, GID: gids}
}

// Mapping returns the mapping that a process inside U0 uses. For Root mode the
// base has to be allocated first, so it is an argument.
func (i IDs) Mapping(rootBase uint32) idmap.Mapping {
	switch i.Mode {
	case idmap.Root:
		return idmap.ForRoot(rootBase)
	case idmap.Mapped:
		return idmap.ForMapped()
	case idmap.Single:
		return idmap.ForSingle()
	}
	panic("userns: unknown mode " + string(i.Mode))
}

func currentUser() (name, uid string) {
	uid = strconv.Itoa(os.Getuid())
	if u, err := user.LookupId(uid); err == nil {
		name = u.Username
	}
	return name, uid
}

// findRange returns the first range of at least idmap.Size ids that the file
// gives to the user, by name or by number.
func findRange(file, name, uid string) (Range, error) {
	entries, err := moby.ParseSubIDFileFilter(file, func(e moby.SubID) bool {
		return e.Count >= idmap.Size && (e.Name == uid || (name != "" && e.Name == name))
	})
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return Range{}, fmt.Errorf("read %s: %w", file, err)
	}
	if len(entries) == 0 {
		return Range{}, fmt.Errorf("%s: %w", file, ErrNoRange)
	}
	return Range{First: int(entries[0].SubID), Count: int(entries[0].Count)}, nil
}
