// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package dockerflag

import (
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Signals 34 to 64 are real-time ones; C libraries keep 32 and 33.
const (
	sigRTMin = 34
	sigRTMax = 64
)

// ParseSignal parses a --stop-signal or a kill's signal: a number, a name with
// or without SIG in either case, RTMIN+n or RTMAX-n.
func ParseSignal(s string) (unix.Signal, error) {
	if n, err := strconv.Atoi(s); err == nil {
		if n < 1 || n > sigRTMax || s[0] == '+' {
			return 0, fmt.Errorf("signal %q: the numbers are 1 to %d", s, sigRTMax)
		}
		return unix.Signal(n), nil
	}
	name := strings.TrimPrefix(strings.ToUpper(s), "SIG")
	if n, ok := realTime(name); ok {
		return n, nil
	}
	if n := unix.SignalNum("SIG" + name); n != 0 {
		return n, nil
	}
	return 0, fmt.Errorf("unknown signal %q (see signal(7))", s)
}

func realTime(name string) (unix.Signal, bool) {
	for _, b := range []struct {
		prefix, sign string
		base, step   int
	}{{"RTMIN", "+", sigRTMin, 1}, {"RTMAX", "-", sigRTMax, -1}} {
		rest, ok := strings.CutPrefix(name, b.prefix)
		if !ok {
			continue
		}
		if rest == "" {
			return unix.Signal(b.base), true
		}
		digits, ok := strings.CutPrefix(rest, b.sign)
		n, err := strconv.ParseUint(digits, 10, 8)
		if !ok || err != nil || n > sigRTMax-sigRTMin {
			return 0, false
		}
		return unix.Signal(b.base + b.step*int(n)), true
	}
	return 0, false
}

// SignalName returns SIGTERM and the like; for real-time signals the number.
func SignalName(s unix.Signal) string {
	if name := unix.SignalName(s); name != "" {
		return name
	}
	return strconv.Itoa(int(s))
}
