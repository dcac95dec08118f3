// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package build

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/moby/sys/user"

	"github.com/claude-pocket-console/cpc/internal/dockerflag"
	"github.com/claude-pocket-console/cpc/internal/hint"
	"github.com/claude-pocket-console/cpc/internal/visible"

	"github.com/claude-pocket-console/cpc/build/files"
)

// maxAccounts bounds /etc/passwd and /etc/group of an image.
const maxAccounts = 4 << 20

// noAccountError is a name that the image's account files do not have.
type noAccountError struct{ kind, name, file string }

func (e *noAccountError) Error() string {
	return fmt.Sprintf("no %s %q in the image's %s", e.kind, visible.Line(e.name), e.file)
}

func isNoAccount(err error) bool {
	_, ok := errors.AsType[*noAccountError](err)
	return ok
}

// resolveOwner reads USER[:GROUP], by name in the image's own account files or
// by number. Without a group a number is its own group, as docker has it; a
// name's group is the account's. With a noAccountError comes what is known: root
// stands for a name that is not.
func resolveOwner(image *files.Tree, spec string) (files.Owner, error) {
	name, group, hasGroup := strings.Cut(spec, ":")
	var o files.Owner
	var missing error
	if name == "" && !hasGroup {
		return o, fmt.Errorf("owner %q is empty", spec)
	}
	if name != "" {
		var err error
		if o, err = account(image, name); err != nil && !isNoAccount(err) {
			return o, err
		}
		missing = err
	}
	if !hasGroup || group == "" {
		return o, missing
	}
	gid, err := groupID(image, group)
	if !isNoAccount(err) {
		o.GID = gid
	}
	return o, errors.Join(missing, err)
}

func account(t *files.Tree, name string) (files.Owner, error) {
	if n, numeric, err := dockerflag.ParseID(name); numeric || err != nil {
		return files.Owner{UID: n, GID: n}, err
	}
	data, err := accountFile(t, "etc/passwd")
	if err != nil {
		return files.Owner{}, err
	}
	found, err := user.ParsePasswdFilter(bytes.NewReader(data), func(u user.User) bool { return u.Name == name })
	if err != nil {
		return files.Owner{}, fmt.Errorf("read /etc/passwd of the image: %w", err)
	}
	if len(found) == 0 {
		return files.Owner{}, hint.With(&noAccountError{"user", name, "/etc/passwd"},
			"create it in an earlier RUN step, or give a number")
	}
	return checkIDs(found[0].Uid, found[0].Gid)
}

func groupID(t *files.Tree, name string) (uint32, error) {
	if n, numeric, err := dockerflag.ParseID(name); numeric || err != nil {
		return n, err
	}
	data, err := accountFile(t, "etc/group")
	if err != nil {
		return 0, err
	}
	found, err := user.ParseGroupFilter(bytes.NewReader(data), func(g user.Group) bool { return g.Name == name })
	if err != nil {
		return 0, fmt.Errorf("read /etc/group of the image: %w", err)
	}
	if len(found) == 0 {
		return 0, hint.With(&noAccountError{"group", name, "/etc/group"},
			"create it in an earlier RUN step, or give a number")
	}
	o, err := checkIDs(found[0].Gid, found[0].Gid)
	return o.GID, err
}

// checkIDs refuses what a hostile account file may hold.
func checkIDs(uid, gid int) (files.Owner, error) {
	if uid < 0 || gid < 0 || uint64(uid) > 1<<32-2 || uint64(gid) > 1<<32-2 {
		return files.Owner{}, fmt.Errorf("ids %d:%d in the image's account files are out of range", uid, gid)
	}
	return files.Owner{UID: uint32(uid), GID: uint32(gid)}, nil
}

// accountFile reads a file of the image; a missing one is empty.
func accountFile(t *files.Tree, name string) ([]byte, error) {
	resolved, err := t.Resolve(name)
	if err != nil {
		return nil, err
	}
	data, err := readBounded(func() (io.ReadCloser, error) { return openRegular(t.Root, resolved) }, maxAccounts)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read /%s of the image: %w", name, err)
	}
	return data, nil
}
