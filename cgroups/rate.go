// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package cgroups

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// Counts reports whether a rate of this kind is a number of operations, not of bytes.
func (k RateKind) Counts() bool { return k == ReadIOPS || k == WriteIOPS }

// RateOf returns the rate of the block device at a path, which must be there.
func RateOf(kind RateKind, device string, rate uint64) (Rate, error) {
	var st unix.Stat_t
	if err := unix.Stat(device, &st); err != nil {
		return Rate{}, fmt.Errorf("%s: %w", device, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return Rate{}, fmt.Errorf("%s: not a block device", device)
	}
	return Rate{
		Kind: kind, Device: device, Rate: rate,
		Major: int64(unix.Major(st.Rdev)), Minor: int64(unix.Minor(st.Rdev)),
	}, nil
}

// SetRate adds a rate, or puts it in the place of the one of its kind and device.
func (l *Limits) SetRate(r Rate) {
	l.Rates = slices.DeleteFunc(l.Rates, func(o Rate) bool {
		return o.Kind == r.Kind && o.Major == r.Major && o.Minor == r.Minor
	})
	l.Rates = append(l.Rates, r)
}
