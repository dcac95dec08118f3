// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"fmt"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
)

// ParseReference returns the canonical form of an image name as people type
// it, by docker's rules: debian:trixie-slim is
// docker.io/library/debian:trixie-slim, and a name with neither tag nor digest
// has the tag latest.
func ParseReference(s string) (canonical string, err error) {
	named, err := parseNamed(s)
	if err != nil {
		return "", err
	}
	return named.String(), nil
}

func parseNamed(s string) (reference.Named, error) {
	const longest = 512
	if len(s) > longest {
		return nil, fmt.Errorf("image name of %d bytes: too long", len(s))
	}
	named, err := reference.ParseNormalizedNamed(s)
	if err != nil {
		return nil, fmt.Errorf("image name %q: %w", s, err)
	}
	return reference.TagNameOnly(named), nil
}

// parseTag is ParseReference for a name that is to be given to an image.
func parseTag(s string) (string, error) {
	name, err := ParseReference(s)
	if err == nil && strings.Contains(name, "@") {
		return "", fmt.Errorf("image name %q: a digest is no name that can be given", s)
	}
	return name, err
}

// Familiar returns a canonical name as docker shows it:
// docker.io/library/debian:trixie-slim is debian:trixie-slim.
func Familiar(canonical string) string {
	named, err := reference.ParseNormalizedNamed(canonical)
	if err != nil {
		return canonical
	}
	return reference.FamiliarString(named)
}

// SplitTag takes a name apart, the familiar one or the canonical. The tag of a name
// without one, or with a digest, is "<none>", as docker shows it.
func SplitTag(familiar string) (repository, tag string) {
	if name, _, pinned := strings.Cut(familiar, "@"); pinned {
		repository, _ = SplitTag(name)
		return repository, "<none>"
	}
	if i := strings.LastIndexByte(familiar, ':'); i > strings.LastIndexByte(familiar, '/') {
		return familiar[:i], familiar[i+1:]
	}
	return familiar, "<none>"
}

// splitDigest returns repository and digest of a canonical name@digest.
func splitDigest(canonical string) (repo string, d digest.Digest) {
	name, d0, ok := strings.Cut(canonical, "@")
	if !ok {
		return "", ""
	}
	return repoOf(name), digest.Digest(d0)
}

// repoOf returns a canonical name without its tag.
func repoOf(name string) string {
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		return name[:i]
	}
	return name
}

// minID is how short an id may be cut; less would be a guess.
const minID = 4

// idPrefix returns what may be the start of an image id, in hex.
func idPrefix(ref string) (string, bool) {
	hex, isDigest := strings.CutPrefix(ref, "sha256:")
	if len(hex) > 64 || len(hex) < minID && !isDigest || hex == "" {
		return "", false
	}
	return hex, strings.Trim(hex, "0123456789abcdef") == ""
}
