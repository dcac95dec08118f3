// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package bundle

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/cyphar/filepath-securejoin/pathrs-lite"
	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/dockerflag"
)

// maxAccountFile bounds an image's passwd and group files, in bytes.
const maxAccountFile = 1 << 20

// ResolvedUser is a user as an image's passwd and group files know it.
type ResolvedUser struct {
	UID    uint32   `json:"uid"`
	GID    uint32   `json:"gid"`
	Groups []uint32 `json:"groups,omitempty"` // additional ones
	Name   string   `json:"name,omitempty"`   // "" when passwd has no such user
	Home   string   `json:"home"`
}

// ResolveUser looks a user NAME|UID[:GROUP|GID] up in the root filesystem at
// root, whose content is hostile: links are followed inside of it only, and
// only regular files of sane size are read.
//
// As with docker, a number needs no entry (its group is then 0 unless given),
// a name does, and additional groups come from the group file only where no
// group is given. A number is never looked up as a name, see [dockerflag.ParseID].
func ResolveUser(root, spec string) (ResolvedUser, error) {
	want, err := dockerflag.ParseUser(spec)
	if err != nil {
		return ResolvedUser{}, err
	}
	passwd, err := readAccounts(root, "/etc/passwd")
	if err != nil {
		return ResolvedUser{}, fmt.Errorf("look up user %q: %w", spec, err)
	}
	group, err := readAccounts(root, "/etc/group")
	if err != nil {
		return ResolvedUser{}, fmt.Errorf("look up user %q: %w", spec, err)
	}
	u, err := lookUp(want, parsePasswd(passwd), parseGroup(group))
	if err != nil {
		return ResolvedUser{}, fmt.Errorf("look up user %q: %w", spec, err)
	}
	return u, nil
}

// AddGroups returns u with further groups, by name or id, as the image's group
// file knows them.
func AddGroups(root string, u ResolvedUser, names []string) (ResolvedUser, error) {
	if len(names) == 0 {
		return u, nil
	}
	group, err := readAccounts(root, "/etc/group")
	if err != nil {
		return u, fmt.Errorf("look up groups: %w", err)
	}
	groups := parseGroup(group)
	u.Groups = slices.Clone(u.Groups)
	for _, name := range names {
		gid, err := findGroup(name, groups)
		if err != nil {
			return u, err
		}
		if gid != u.GID && !slices.Contains(u.Groups, gid) {
			u.Groups = append(u.Groups, gid)
		}
	}
	return u, nil
}

func lookUp(want dockerflag.User, users []passwdEntry, groups []groupEntry) (ResolvedUser, error) {
	u, err := findUser(want.User, users)
	if err != nil {
		return ResolvedUser{}, err
	}
	if want.Group == "" {
		for _, g := range groups {
			if u.Name != "" && slices.Contains(g.members, u.Name) && g.gid != u.GID && !slices.Contains(u.Groups, g.gid) {
				u.Groups = append(u.Groups, g.gid)
			}
		}
		return u, nil
	}
	u.GID, err = findGroup(want.Group, groups)
	return u, err
}

func findUser(user string, users []passwdEntry) (ResolvedUser, error) {
	number, numeric, err := dockerflag.ParseID(user)
	if err != nil {
		return ResolvedUser{}, err
	}
	at := slices.IndexFunc(users, func(e passwdEntry) bool {
		if numeric {
			return e.uid == number
		}
		return e.name == user
	})
	switch {
	case at >= 0:
		e := users[at]
		return ResolvedUser{UID: e.uid, GID: e.gid, Name: e.name, Home: e.home}, nil
	case numeric:
		return ResolvedUser{UID: number, Home: "/"}, nil
	}
	return ResolvedUser{}, errors.New("the image's /etc/passwd has no such user")
}

func findGroup(group string, groups []groupEntry) (uint32, error) {
	number, numeric, err := dockerflag.ParseID(group)
	if numeric || err != nil {
		return number, err
	}
	at := slices.IndexFunc(groups, func(e groupEntry) bool { return e.name == group })
	if at < 0 {
		return 0, fmt.Errorf("the image's /etc/group has no group %q", group)
	}
	return groups[at].gid, nil
}

// readAccounts returns nothing where the file does not exist. The file is first
// opened as a mere path, so that neither a FIFO nor a device is ever opened.
func readAccounts(root, name string) ([]byte, error) {
	handle, err := pathrs.OpenInRoot(root, name)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open the image's %s: %w", name, err)
	}
	defer handle.Close()
	fi, err := handle.Stat()
	if err != nil {
		return nil, fmt.Errorf("stat the image's %s: %w", name, err)
	}
	if !fi.Mode().IsRegular() {
		return nil, fmt.Errorf("the image's %s is not a regular file (%s)", name, fi.Mode())
	}
	file, err := pathrs.Reopen(handle, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOCTTY)
	if err != nil {
		return nil, fmt.Errorf("open the image's %s: %w", name, err)
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxAccountFile+1))
	if err != nil {
		return nil, fmt.Errorf("read the image's %s: %w", name, err)
	}
	if len(data) > maxAccountFile {
		return nil, fmt.Errorf("the image's %s is larger than %d bytes", name, maxAccountFile)
	}
	return data, nil
}

type passwdEntry struct {
	name, home string
	uid, gid   uint32
}

type groupEntry struct {
	name    string
	gid     uint32
	members []string
}

// parsePasswd returns the well-formed lines (passwd(5)); as in the C library,
// others do not exist.
func parsePasswd(data []byte) []passwdEntry {
	var out []passwdEntry
	for line := range bytes.Lines(data) {
		f := strings.Split(strings.TrimSuffix(string(line), "\n"), ":")
		if len(f) != 7 || f[0] == "" || strings.HasPrefix(f[0], "#") {
			continue
		}
		uid, ok1 := parseNumber(f[2])
		gid, ok2 := parseNumber(f[3])
		if !ok1 || !ok2 {
			continue
		}
		out = append(out, passwdEntry{name: f[0], uid: uid, gid: gid, home: cleanHome(f[5])})
	}
	return out
}

// cleanHome returns a home that can stand in an environment and be mounted on.
func cleanHome(home string) string {
	if !path.IsAbs(home) || len(home) > unix.PathMax ||
		strings.ContainsFunc(home, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return "/"
	}
	return path.Clean(home)
}

// parseGroup returns the well-formed lines (group(5)).
func parseGroup(data []byte) []groupEntry {
	var out []groupEntry
	for line := range bytes.Lines(data) {
		f := strings.Split(strings.TrimSuffix(string(line), "\n"), ":")
		if len(f) != 4 || f[0] == "" || strings.HasPrefix(f[0], "#") {
			continue
		}
		gid, ok := parseNumber(f[2])
		if !ok {
			continue
		}
		e := groupEntry{name: f[0], gid: gid}
		if f[3] != "" {
			e.members = strings.Split(f[3], ",")
		}
		out = append(out, e)
	}
	return out
}

// parseNumber reads an id of an account file.
func parseNumber(s string) (uint32, bool) {
	n, numeric, err := dockerflag.ParseID(s)
	return n, numeric && err == nil
}
