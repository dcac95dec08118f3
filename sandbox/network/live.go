// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package network

// LogDir is where a sandbox's decisions are kept, below its data: entries of a
// log, each one decision as JSON.
const LogDir = "network"

// Change is what a change of a running sandbox's policy did.
type Change struct {
	Version int  `json:"policy"`
	Changed bool `json:"changed"`
	// Cut is how many connections it ended.
	Cut int `json:"cut"`
	// Ineffective are rules that the host's policy leaves nothing of.
	Ineffective []string `json:"ineffective,omitempty"`
}
