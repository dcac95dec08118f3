// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package dockerflag

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
)

// MinMemory is docker's least memory limit, in bytes.
const MinMemory = 6 << 20

// unitOf returns the factor of a unit, 0 for an unknown one: docker's are powers
// of 1024, in either case, with or without b or ib.
func unitOf(s string) int64 {
	s = strings.ToLower(strings.TrimPrefix(s, " "))
	switch {
	case len(s) == 3 && strings.HasSuffix(s, "ib"), len(s) == 2 && strings.HasSuffix(s, "b"):
		s = s[:1]
	}
	switch s {
	case "", "b":
		return 1
	case "k":
		return 1 << 10
	case "m":
		return 1 << 20
	case "g":
		return 1 << 30
	case "t":
		return 1 << 40
	case "p":
		return 1 << 50
	}
	return 0
}

// ParseSize parses a number of bytes: 1024, 512m, 2g, 1.5GiB. Zero is allowed.
func ParseSize(s string) (int64, error) {
	end := strings.LastIndexAny(s, "0123456789.") + 1
	number, factor := s[:end], unitOf(s[end:])
	if factor == 0 || !isDecimal(number) {
		return 0, fmt.Errorf("size %q: must be a number with b, k, m or g, as 512m", s)
	}
	r, ok := new(big.Rat).SetString(number)
	if !ok {
		return 0, fmt.Errorf("size %q: must be a number with b, k, m or g, as 512m", s)
	}
	r.Mul(r, new(big.Rat).SetInt64(factor))
	n := new(big.Int).Quo(r.Num(), r.Denom())
	if !n.IsInt64() {
		return 0, fmt.Errorf("size %q: too large", s)
	}
	return n.Int64(), nil
}

// isDecimal accepts digits with at most one point among them, of sane length.
func isDecimal(s string) bool {
	if s == "" || len(s) > 30 || strings.Count(s, ".") > 1 || s[0] == '.' || s[len(s)-1] == '.' {
		return false
	}
	return strings.Trim(s, "0123456789.") == ""
}

// ParseMemory parses --memory; "0" is no limit, below 6m docker refuses.
func ParseMemory(s string) (int64, error) {
	n, err := ParseSize(s)
	if err != nil {
		return 0, fmt.Errorf("memory %w", err)
	}
	if n != 0 && n < MinMemory {
		return 0, fmt.Errorf("memory limit %q: the minimum is 6m", s)
	}
	return n, nil
}

const (
	minDisk = 16 << 20
	maxDisk = 16 << 40 // of an ext4 file system's default format
)

// ParseDisk parses --disk. There is always a limit.
func ParseDisk(s string) (int64, error) {
	n, err := ParseSize(s)
	switch {
	case err != nil:
		return 0, fmt.Errorf("disk %w", err)
	case n < minDisk:
		return 0, fmt.Errorf("disk size %q: the minimum is 16m", s)
	case n >= maxDisk:
		return 0, fmt.Errorf("disk size %q: the maximum is below 16t", s)
	}
	return n &^ 4095, nil // whole blocks
}

// ParseCPUs parses --cpus into thousandths of a processor; "0" is no limit. More
// than the host's hostCPUs is an error, as is less than a hundredth of one.
func ParseCPUs(s string, hostCPUs int) (int64, error) {
	if !isDecimal(s) {
		return 0, fmt.Errorf("cpus %q: must be a number of processors, as 1.5", s)
	}
	r, ok := new(big.Rat).SetString(s)
	if !ok {
		return 0, fmt.Errorf("cpus %q: must be a number of processors, as 1.5", s)
	}
	if r.Cmp(new(big.Rat).SetInt64(int64(hostCPUs))) > 0 {
		return 0, fmt.Errorf("cpus %q: this host has %d: the range is 0.01 to %d.00", s, hostCPUs, hostCPUs)
	}
	r.Mul(r, big.NewRat(1000, 1))
	if !r.IsInt() {
		return 0, fmt.Errorf("cpus %q: at most three decimals", s)
	}
	if n := r.Num().Int64(); n == 0 || n >= 10 {
		return n, nil
	}
	return 0, fmt.Errorf("cpus %q: the minimum is 0.01", s)
}

// ParsePids parses --pids-limit; -1 and 0 are no limit, returned as 0.
func ParsePids(s string) (int64, error) {
	if s == "-1" {
		return 0, nil
	}
	n, err := strconv.ParseUint(s, 10, 63)
	switch {
	case errors.Is(err, strconv.ErrRange) || n > math.MaxInt32:
		return 0, fmt.Errorf("pids limit %q: too large", s)
	case err != nil:
		return 0, fmt.Errorf("pids limit %q: must be a number, or -1 for no limit", s)
	}
	return int64(n), nil
}
