// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Package gateway carries a sandbox's connections to the hosts that its policy
// names, and to nothing else. It runs in the monitor.
//
// Theory of operation: the packet filter of the gateway's namespace redirects
// allowed connections to a listener there. For each one the gateway learns
// where the program wanted to go (SO_ORIGINAL_DST), which name that address
// stands for, and which rule allows name and port. On TLS ports it reads the
// ClientHello, on HTTP ports each request's head, and refuses what does not
// name the same host. Then it resolves the name on the host, leaves out
// addresses that are not public unless a rule grants them, dials one of the
// others by its number, and joins both sockets by splice(2).
//
// Nothing that a program sends reaches the network before the name it is sent to
// has been checked.
//
// A connection to a host of which nothing is known is dialled for before it is
// accepted (Probe), so that the program sees a host that refuses as such; the
// connection to the host then waits for the sandbox's.
//
// The listener's sockets belong to the gateway's namespace, the dialler's to
// the host's; a socket stays in the namespace that it was made in, so no
// thread ever changes namespaces here. Each connection has one or two
// goroutines; one more looks after idle ones. Gateway.mu guards the table of
// connections, and is held across no call that can block.
package gateway
