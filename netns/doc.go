// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Package netns is a sandbox's network: it reaches what its policy names, and
// nothing else, without a change to the host's network.
//
// Theory of operation. The sandbox's network namespace S has one veth, whose
// other end is in a namespace R of the gateway's own. R routes nothing: its
// packet filter redirects connections to allowed (address, port) pairs to a
// listener in R, lets questions to the name server in, and refuses the rest at
// once. The first packet to a host of which nothing is known waits until the host
// has been dialled (hold.go). The listener is package gateway, the name server package names, what
// is allowed is package policy, what was decided is package event. The
// gateway's own connections are made in the namespace of the calling process,
// the host's; no packet of the sandbox is ever forwarded.
//
//	S  eth0 198.18.0.2 ── veth ── cpc0 198.18.0.1  R ─(sockets)─ process ─(sockets)─ host
//
// Who runs it: the monitor, which is root of the user namespace U0, or of the
// host. R is owned by that user namespace; S belongs to a user namespace below
// it, so the same process has rights over both.
//
// Threads: a Go program's threads are not its own. Whatever must happen inside
// R or S runs on one thread that is locked for that purpose from Open to Close
// and ends then (thread); no other is ever in another namespace, and the
// process never leaves its own. Sockets stay in the namespace that they were
// made in.
//
// What the kernel is told is a Plan, which is pure and can be printed; apply
// does what it says.
package netns
