// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package dockerflag

import (
	"fmt"
	"strconv"
	"strings"
)

// ParseExpose parses PORT[-PORT][/tcp|udp|sctp] and returns each port as
// PORT/PROTOCOL.
func ParseExpose(s string) ([]string, error) {
	ports, protocol, has := strings.Cut(s, "/")
	if !has {
		protocol = "tcp"
	}
	protocol = strings.ToLower(protocol)
	first, last, isRange := strings.Cut(ports, "-")
	if !isRange {
		last = first
	}
	low, errLow := parsePort(first)
	high, errHigh := parsePort(last)
	if errLow != nil || errHigh != nil || high < low || protocol != "tcp" && protocol != "udp" && protocol != "sctp" {
		return nil, fmt.Errorf("port %q: must be PORT, PORT-PORT or PORT/PROTOCOL, as 80, 8000-8010 or 53/udp", s)
	}
	var all []string
	for p := low; p <= high; p++ {
		all = append(all, strconv.Itoa(p)+"/"+protocol)
	}
	return all, nil
}

func parsePort(s string) (int, error) {
	if !isDigits(s) {
		return 0, strconv.ErrSyntax
	}
	n, err := strconv.ParseUint(s, 10, 16)
	return int(n), err //nolint:gosec // at most 65535
}
