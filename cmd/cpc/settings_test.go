// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/claude-pocket-console/cpc/internal/config"
)

// What config.toml said first holds for the whole command, and for the copy of cpc
// that pulls its image.
func TestConfigurationReadOnce(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_CONFIG_HOME", dir)
	put := func(text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Join(dir, "cpc"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "cpc", "config.toml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("[egress]\nallow = []\ndeny = ['a.example']\n[network]\nhost-ca = true\nproxy = false\n[registries.'r.example']\ninsecure = true\n")
	parent := &app{}
	if parent.configurationRead() != nil {
		t.Error("something was read before anybody asked")
	}
	first, err := parent.configuration()
	if err != nil {
		t.Fatal(err)
	}
	put("[egress]\nallow = ['*']\n")
	raw, err := json.Marshal(worker{Config: parent.configurationRead()})
	if err != nil {
		t.Fatal(err)
	}
	told := &worker{}
	if err := json.Unmarshal(raw, told); err != nil {
		t.Fatal(err)
	}
	for who, a := range map[string]*app{"again": parent, "the copy in U0": {inside: told}} {
		if got, err := a.configuration(); err != nil || !reflect.DeepEqual(got, first) {
			t.Errorf("%s: %+v, %v, want %+v", who, got.User, err, first.User)
		}
	}
	now, err := config.Load()
	if err != nil || reflect.DeepEqual(now, first) {
		t.Errorf("the control sees no change: %+v, %v", now.User, err)
	}
}
