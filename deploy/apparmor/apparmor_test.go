// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package apparmor

import (
	"strings"
	"testing"
)

// TestProfiles: that the kernel takes them, and what they deny, is shown in
// the VM (test/vm/apparmor.sh).
func TestProfiles(t *testing.T) {
	for _, p := range Profiles() {
		if !strings.Contains(p.Text, "\nprofile "+p.Name+" ") || !strings.Contains(p.Text, "abi <abi/4.0>,") {
			t.Errorf("%s: no profile of that name, or without its abi", p.Name)
		}
		if !strings.Contains(p.Text, "include if exists <local/"+p.Name+">") {
			t.Errorf("%s: an administrator cannot add to it", p.Name)
		}
		if grants := strings.Contains(p.Text, "\n  userns,"); grants == (p.Name == Sandbox) {
			t.Errorf("%s: grants userns: %v", p.Name, grants)
		}
	}
}
