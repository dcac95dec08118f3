// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package dockerflag

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// ParseTime parses what docker takes for --since and --until: a date with or
// without time and zone, seconds since 1970 with or without a fraction, or a
// duration before now.
func ParseTime(s string, now time.Time) (time.Time, error) {
	if d, err := time.ParseDuration(s); err == nil {
		return now.Add(-d), nil
	}
	if whole, fraction, _ := strings.Cut(s, "."); isDigits(whole) && len(whole) <= 11 && len(fraction) <= 9 && (fraction == "" || isDigits(fraction)) {
		seconds, err := strconv.ParseInt(whole, 10, 64)
		nanos, errNano := strconv.ParseInt((fraction + "000000000")[:9], 10, 64)
		if err == nil && errNano == nil {
			return time.Unix(seconds, nanos), nil
		}
	}
	for _, layout := range []string{
		time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02T15:04Z07:00", "2006-01-02T15:04", "2006-01-02T15Z07:00",
		"2006-01-02T15", "2006-01-02Z07:00", "2006-01-02",
	} {
		if t, err := time.ParseInLocation(layout, s, now.Location()); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("time %q: must be a date as 2006-01-02T15:04:05, seconds since 1970, or a duration as 10m", s)
}

func isDigits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }
