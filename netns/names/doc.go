// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Package names is a sandbox's only resolver. It answers an allowed name with
// addresses that stand for that name in this sandbox, the reverse question for
// those addresses, and everything else with NXDOMAIN. It sends no query
// anywhere, so questions carry nothing out.
//
// Theory of operation: the monitor gives Server sockets that are bound in the
// gateway's namespace. Each UDP socket has one goroutine, which answers one
// question after the other; TCP connections are few, each with a goroutine and
// a deadline. Memory is bounded: by the pool, by one buffer a socket, and by
// the number of TCP connections.
//
// Invariant: an address is given to a program only after the pool's hook has
// let connections to it through.
package names
