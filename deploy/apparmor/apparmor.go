// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Package apparmor holds cpc's AppArmor profiles, as an administrator loads
// them once: cpc lets the programs create user namespaces where the
// distribution restricts that, cpc-sandbox confines what runs in a sandbox.
package apparmor

import _ "embed" // the profiles

// Profile is a file of /etc/apparmor.d.
type Profile struct {
	Name string // of the file
	Text string
}

var (
	//go:embed cpc
	programs string
	//go:embed cpc-sandbox
	sandbox string
)

// Sandbox is the name of the profile that sandboxes are put into.
const Sandbox = "cpc-sandbox"

// Profiles returns all of them. They need AppArmor 4.0 (apparmor_parser
// --version) and are independent of each other.
func Profiles() []Profile {
	return []Profile{{Name: "cpc", Text: programs}, {Name: Sandbox, Text: sandbox}}
}
