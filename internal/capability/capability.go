// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Package capability says which capabilities this process can use.
package capability

import "golang.org/x/sys/unix"

// Effective reports whether the calling thread has a capability, by its number.
func Effective(number uint) bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData // 32 capabilities each
	if number >= 64 || unix.Capget(&header, &data[0]) != nil {
		return false
	}
	return data[number/32].Effective>>(number%32)&1 == 1
}
