// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package dockerfile

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/dfgitutil"

	"github.com/claude-pocket-console/cpc/internal/visible"
)

// RemoteKind tells what ADD fetches from what it copies.
type RemoteKind int

const (
	NotRemote RemoteKind = iota
	RemoteURL
	RemoteGit
)

// Classify says how a source is to be had.
func Classify(source string) (RemoteKind, *dfgitutil.GitRef, error) {
	ref, isGit, err := dfgitutil.ParseGitRef(source)
	switch {
	case isGit && err != nil:
		return RemoteGit, nil, fmt.Errorf("git address: %w", err)
	case isGit && !ref.IndistinguishableFromLocal:
		return RemoteGit, ref, CheckGit(ref)
	case strings.HasPrefix(source, "http://") || strings.HasPrefix(source, "https://"):
		return RemoteURL, nil, nil
	}
	return NotRemote, nil, nil
}

// refName is what may be asked of a remote.
var refName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.\-/+@]*$`)

// IsRefName reports whether git may be asked for s: it can be taken for no option.
func IsRefName(s string) bool { return refName.MatchString(s) }

// CheckGit refuses addresses that git or ssh could take for something else.
func CheckGit(ref *dfgitutil.GitRef) error {
	if strings.HasPrefix(ref.Remote, "-") || strings.Contains(ref.Remote, "::") || strings.ContainsAny(ref.Remote, "\x00\n") {
		return fmt.Errorf("git address %s: refused", visible.Bounded(ref.Remote, 200))
	}
	if u, err := url.Parse(ref.Remote); err == nil && strings.HasPrefix(u.Host, "-") {
		return fmt.Errorf("git address %s: refused", visible.Bounded(ref.Remote, 200))
	}
	for _, name := range []string{ref.Ref, ref.Checksum} {
		if name != "" && !IsRefName(name) {
			return fmt.Errorf("git reference %s: refused", visible.Bounded(name, 100))
		}
	}
	if strings.ContainsRune(ref.SubDir, 0) {
		return errors.New("git subdirectory: contains a NUL byte")
	}
	return nil
}
