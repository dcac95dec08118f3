// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package confine

import (
	"errors"
	"testing"

	"github.com/opencontainers/selinux/go-selinux"
)

func TestParseLabel(t *testing.T) {
	for text, want := range map[string]string{
		"unconfined\n":                    "unconfined",
		"cpc-sandbox (enforce)\n":         "cpc-sandbox",
		"cpc-sandbox (enforce)\n\x00":     "cpc-sandbox",
		"cpc (unconfined)\n":              "cpc",
		"cpc-sandbox (complain)":          "cpc-sandbox",
		"odd (name) (enforce)":            "odd (name)",
		"container_t:s0 without anything": "container_t:s0 without anything",
		"":                                "",
	} {
		if got := parseLabel([]byte(text)); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// TestAppArmor holds on any host; that profiles are applied where AppArmor is
// enabled is shown in the VM (test/vm/apparmor.sh).
func TestAppArmor(t *testing.T) {
	profile, err := AppArmor(Unconfined)
	if err != nil || profile != "" && profile != Unconfined {
		t.Errorf("unconfined: %q, %v", profile, err)
	}
	if profile, err = AppArmor(""); err != nil || profile != "" && profile != DefaultProfile {
		t.Errorf("default: %q, %v", profile, err)
	}
	want := ErrNoAppArmor
	if AppArmorEnabled() {
		want = ErrNotLoaded
	}
	if profile, err = AppArmor("no-such-profile"); !errors.Is(err, want) {
		t.Errorf("a profile that is not loaded: %q, %v; want %v", profile, err, want)
	}
}

func TestAwait(t *testing.T) {
	calls := 0
	err := await("test", "b", func() (string, error) {
		if calls++; calls < 4 {
			return "a", nil
		}
		return "b", nil
	})
	if err != nil || calls != 4 {
		t.Errorf("%v after %d calls", err, calls)
	}
	gone := errors.New("no such process")
	if err := await("test", "b", func() (string, error) { return "", gone }); !errors.Is(err, gone) {
		t.Errorf("%v, want %v", err, gone)
	}
}

func TestSELinux(t *testing.T) {
	if selinux.GetEnabled() {
		t.Skip("SELinux is enabled: its own policy decides")
	}
	labels, err := SELinux([]string{"type:spc_t"}, func() ([]string, error) {
		t.Error("looked for other sandboxes without need")
		return nil, nil
	})
	if err != nil || labels != (Labels{}) {
		t.Errorf("%+v, %v", labels, err)
	}
	if err := errors.Join(labels.Mark("/no/such/file"), labels.Check(1)); err != nil {
		t.Error(err)
	}
}
