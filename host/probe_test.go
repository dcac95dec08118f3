// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestSysctls: a /proc/sys as Ubuntu 24.04 has it, on which user namespaces are
// made and then good for nothing, comes to the advice to load the profile.
func TestSysctls(t *testing.T) {
	dir := t.TempDir()
	for name, value := range map[string]string{"user/max_user_namespaces": "31012\n", "kernel/apparmor_restrict_unprivileged_userns": "1\n"} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(value), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name    string
		loaded  bool
		advised string
	}{
		{"without the profile", false, "sudo cpc setup"},
		{"with it, something else is in the way", true, "apparmor=unconfined"},
	} {
		f := good()
		f.Sysctls, f.LSM.Programs = sysctls(dir), c.loaded
		f.Trials.Proc, f.Trials.Nested = bad("permission denied"), bad("permission denied")
		checks := Evaluate(f)
		i := slices.IndexFunc(checks, func(k Check) bool { return k.Name == "nested-user-namespaces" })
		if checks[i].Status != Fail || !strings.Contains(checks[i].Fix, c.advised) {
			t.Errorf("%s: %+v; want %q", c.name, checks[i], c.advised)
		}
	}
	if got := sysctls(dir); len(got) != 2 || got["user.max_user_namespaces"] != "31012" {
		t.Errorf("sysctls %v", got)
	}
	if got := sysctls(t.TempDir()); len(got) != 0 {
		t.Errorf("without any: %v", got)
	}
}

func TestEnforced(t *testing.T) {
	for label, want := range map[string]string{
		"unconfined": "", "cpc (unconfined)": "", "some (complain)": "", "": "",
		"some (enforce)": "some", "a//b (enforce)": "a//b",
	} {
		if got := enforced(label); got != want {
			t.Errorf("%q: %q; want %q", label, got, want)
		}
	}
}
