// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Package policy says what a sandbox may reach: rules by name and port, or by
// address range and port, in immutable numbered versions.
//
// It is pure and holds no lock: a *Policy never changes, whoever shares it
// swaps the pointer. The one canonicaliser of host names, ParseHost, is here
// because rules, DNS questions, SNI and Host headers must agree on it.
//
// What is not named is denied; a deny rule wins over every allow rule; a
// policy that is narrowed by others allows what all of them allow.
package policy
