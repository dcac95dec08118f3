// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package dockerflag

import (
	"fmt"
	"strings"
)

// ParseRate parses DEVICE:RATE of --device-read-bps and its like: bytes a second, or
// with counts, a number of operations.
func ParseRate(s string, counts bool) (device string, rate uint64, err error) {
	i := strings.LastIndexByte(s, ':')
	if i <= 0 {
		return "", 0, fmt.Errorf("%q: must be DEVICE:RATE, as /dev/sda:1mb", s)
	}
	device, amount := s[:i], s[i+1:]
	if counts && strings.Trim(amount, "0123456789") != "" {
		return "", 0, fmt.Errorf("%q: must be DEVICE:NUMBER, as /dev/sda:1000", s)
	}
	n, err := ParseSize(amount)
	if err != nil {
		return "", 0, fmt.Errorf("%q: %w", s, err)
	}
	if n == 0 {
		return "", 0, fmt.Errorf("%q: the rate must not be 0", s)
	}
	return device, uint64(n), nil //nolint:gosec // not negative
}
