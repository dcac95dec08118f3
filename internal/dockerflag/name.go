// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package dockerflag

import (
	"errors"
	"fmt"
	"strings"
)

func isAlnum(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// CheckName checks a --name: docker's [a-zA-Z0-9][a-zA-Z0-9_.-]+, and at most
// 128 characters, so that it also serves as a file name.
func CheckName(s string) error {
	if len(s) < 2 || len(s) > 128 {
		return fmt.Errorf("name %q: must have 2 to 128 characters", s)
	}
	for i := range len(s) {
		if !isAlnum(s[i]) && (i == 0 || !strings.ContainsRune("_.-", rune(s[i]))) {
			return fmt.Errorf("name %q: only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed", s)
		}
	}
	return nil
}

// CheckHostname checks a --hostname: RFC 1123 labels, and the 64 bytes that
// sethostname(2) takes.
func CheckHostname(s string) error {
	if s == "" || len(s) > 64 {
		return fmt.Errorf("hostname %q: must have 1 to 64 characters", s)
	}
	for label := range strings.SplitSeq(s, ".") {
		if err := checkLabel(label); err != nil {
			return fmt.Errorf("hostname %q: %w", s, err)
		}
	}
	return nil
}

// checkLabel allows the underscore too, which docker's own names have.
func checkLabel(label string) error {
	if label == "" || len(label) > 63 {
		return errors.New("each part between dots must have 1 to 63 characters")
	}
	for i := range len(label) {
		edge := i == 0 || i == len(label)-1
		if !isAlnum(label[i]) && (edge || label[i] != '-' && label[i] != '_') {
			return errors.New("only letters, digits and, inside, hyphens are allowed")
		}
	}
	return nil
}

// ParseLabel parses KEY[=VALUE].
func ParseLabel(s string) (key, value string, err error) {
	key, value, _ = strings.Cut(s, "=")
	if strings.TrimSpace(key) == "" {
		return "", "", fmt.Errorf("label %q: the key is empty", s)
	}
	return key, value, nil
}

// User is a --user before it is looked up: each part a name or a number.
type User struct {
	User  string
	Group string // "" when not given
}

// ParseUser parses NAME|UID[:GROUP|GID].
func ParseUser(s string) (User, error) {
	u, g, has := strings.Cut(s, ":")
	if err := checkUserPart(u); err != nil {
		return User{}, fmt.Errorf("user %q: %w", s, err)
	}
	if has {
		if err := checkUserPart(g); err != nil {
			return User{}, fmt.Errorf("user %q: group: %w", s, err)
		}
	}
	return User{User: u, Group: g}, nil
}

// checkUserPart takes any name that a passwd line can hold.
func checkUserPart(s string) error {
	switch {
	case s == "":
		return errors.New("the name is empty")
	case len(s) > 256:
		return errors.New("the name is too long")
	case strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f || r == ':' || r == '/' || r == ',' }):
		return errors.New("the name has characters that no user name has")
	case s[0] == '-' || s[0] == '+':
		return errors.New("a name cannot start with a sign")
	}
	_, _, err := ParseID(s)
	return err
}
