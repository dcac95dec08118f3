// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package dockerflag

import (
	"errors"
	"fmt"
	"strings"
)

// DefaultDetachKeys is ctrl-p ctrl-q.
const DefaultDetachKeys = "ctrl-p,ctrl-q"

// ParseDetachKeys parses --detach-keys: keys between commas, each a single
// ASCII character or ctrl- and one of a-z @ [ \ ] ^ _ . It returns the bytes
// that a terminal sends for them; none for "", which is no detaching.
func ParseDetachKeys(s string) ([]byte, error) {
	if s == "" {
		return nil, nil
	}
	var out []byte
	for key := range strings.SplitSeq(s, ",") {
		b, err := detachKey(key)
		if err != nil {
			return nil, fmt.Errorf("detach keys %q: %w", s, err)
		}
		out = append(out, b)
	}
	if len(out) > 16 {
		return nil, fmt.Errorf("detach keys %q: more than 16", s)
	}
	return out, nil
}

func detachKey(key string) (byte, error) {
	if key == "DEL" {
		return 0x7f, nil
	}
	if len(key) == 1 && key[0] >= ' ' && key[0] < 0x7f {
		return key[0], nil
	}
	c, ok := strings.CutPrefix(key, "ctrl-")
	if !ok || len(c) != 1 {
		return 0, fmt.Errorf("%q is neither a character nor ctrl-CHARACTER", key)
	}
	switch {
	case c[0] >= 'a' && c[0] <= 'z':
		return c[0] - 'a' + 1, nil
	case c[0] >= 'A' && c[0] <= 'Z':
		return c[0] - 'A' + 1, nil
	case strings.Contains(`@[\]^_`, c):
		return c[0] - '@', nil
	}
	return 0, errors.New("ctrl- takes a letter or one of @ [ \\ ] ^ _")
}
