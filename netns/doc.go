// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Package netns will hold a sandbox's network: namespaces, veth, nftables,
// names, gateway and policy (see the design's section on egress). Until it
// does, a sandbox has no network, or on explicit request the host's.
package netns
