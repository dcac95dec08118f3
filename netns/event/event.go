// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Package event is the record of what a sandbox's network decided: one typed
// event a decision, as JSON, bounded in number however much a sandbox asks.
//
// A Recorder is safe for concurrent use. It calls its output from whichever
// goroutine records, one call at a time, so the output must not block or
// record itself.
package event

import (
	"net/netip"
	"time"
)

// Kind is what was decided about.
type Kind string

const (
	DNS     Kind = "dns"     // a question to the name server
	Packet  Kind = "packet"  // a packet that the packet filter refused
	Connect Kind = "connect" // a connection at the gateway
	Close   Kind = "close"   // the end of an allowed connection
	Policy  Kind = "policy"  // a new version of the policy
	// Summary: all connections that a destination has had, at the sandbox's
	// end, where there were too many events to keep each, or its monitor was
	// killed.
	Summary Kind = "summary"
)

// Verdict is what was decided.
type Verdict string

const (
	Allowed Verdict = "allowed"
	Denied  Verdict = "denied"
	// Failed: allowed, but the host could not be reached.
	Failed Verdict = "failed"
)

// Event is one decision, or a number of like ones.
type Event struct {
	Time    time.Time `json:"time"`
	Kind    Kind      `json:"kind"`
	Verdict Verdict   `json:"verdict"`
	Sandbox string    `json:"sandbox"`
	// Version is the policy's, Rule the id of the rule that decided.
	Version int    `json:"policy"`
	Rule    string `json:"rule,omitempty"`
	Preset  string `json:"preset,omitempty"`
	// Name is the host as the policy knows it, Addr where the sandbox
	// connected to, Upstream the address that was dialled.
	Name     string         `json:"name,omitempty"`
	Addr     netip.Addr     `json:"addr,omitzero"`
	Port     uint16         `json:"port,omitempty"`
	Upstream netip.AddrPort `json:"upstream,omitzero"`
	Proto    string         `json:"proto,omitempty"`
	// Source is the sandbox's end of the connection.
	Source netip.AddrPort `json:"source,omitzero"`
	// Said is the SNI or Host that the program sent, Query the type of a
	// question.
	Said    string `json:"said,omitempty"`
	Query   string `json:"query,omitempty"`
	Reason  string `json:"reason,omitempty"`
	Process string `json:"process,omitempty"`
	// Sent and Received count bytes from the sandbox's point of view, those of
	// all when the event stands for several connections.
	Sent     uint64        `json:"sent,omitempty"`
	Received uint64        `json:"received,omitempty"`
	Duration time.Duration `json:"duration_ns,omitempty"`
	// Count is how many decisions the event stands for, when not one. Only
	// what they have in common is set, which for connections is name, address
	// and port.
	Count uint64 `json:"count,omitempty"`
}

// Total counts decisions of one kind with one verdict.
type Total struct {
	Kind    Kind    `json:"kind"`
	Verdict Verdict `json:"verdict"`
	Count   uint64  `json:"count"`
}
