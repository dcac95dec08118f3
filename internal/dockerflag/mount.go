// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package dockerflag

import (
	"encoding/csv"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ErrNotTmpfs reports a --mount of something of the host.
var ErrNotTmpfs = errors.New("only type=tmpfs can be mounted")

// ParseMount parses a --mount, which has to be of type tmpfs:
// type=tmpfs,target=PATH[,OPTION…], with docker's and podman's options.
func ParseMount(s string) (Tmpfs, error) {
	fields, err := csv.NewReader(strings.NewReader(s)).Read()
	if err != nil {
		return Tmpfs{}, fmt.Errorf("parse mount %q: must be KEY=VALUE, with commas between", s)
	}
	var t Tmpfs
	kind := "volume" // docker's default
	for _, f := range fields {
		key, value, has := strings.Cut(f, "=")
		if key == "type" {
			kind = value
			continue
		}
		if kind != "tmpfs" && kind != "volume" {
			break
		}
		if err := t.setMount(strings.ToLower(key), value, has); err != nil && kind == "tmpfs" {
			return Tmpfs{}, fmt.Errorf("parse mount %q: %w", s, err)
		}
	}
	switch {
	case kind != "tmpfs":
		return Tmpfs{}, fmt.Errorf("parse mount %q: %w", s, ErrNotTmpfs)
	case t.Path == "":
		return Tmpfs{}, fmt.Errorf("parse mount %q: target=PATH is missing", s)
	}
	if err := checkTmpfsPath(t.Path); err != nil {
		return Tmpfs{}, fmt.Errorf("parse mount %q: %w", s, err)
	}
	return t, nil
}

func (t *Tmpfs) setMount(key, value string, has bool) error {
	switch key {
	case "target", "destination", "dst":
		t.Path = value
		return nil
	case "tmpfs-size":
		return t.set("size=" + value)
	case "tmpfs-mode":
		return t.set("mode=" + value)
	case "readonly", "ro":
		on := true
		if has {
			var err error
			if on, err = strconv.ParseBool(value); err != nil {
				return fmt.Errorf("option %s: must be true or false", key)
			}
		}
		t.ReadOnly = on
		return nil
	case "notmpcopyup":
		return nil // nothing is ever copied up
	}
	if !has && t.flag(key) != nil {
		return t.set(key)
	}
	return fmt.Errorf("unknown option %q (known: type=tmpfs, target=, tmpfs-size=, tmpfs-mode=, readonly, exec, noexec, suid, nosuid)", key)
}
