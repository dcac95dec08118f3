// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package cgroups

import (
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// levels watches what has no counter of violations: how near the memory limit
// is, and how long processes wait. Each is told when it begins; again only when
// it has been clearly over, or after a minute in which it was not.
type levels struct {
	memory, cpu string // directories; "" where there is no such controller
	told        map[Kind]time.Time
	window      cpuWindow
}

const (
	// throttleWindow is how long throttling must go on to be sustained.
	throttleWindow = 5 * time.Second
	// repeat is after how long a state that goes on is told of again.
	repeat = time.Minute
)

// cpuWindow is what cpu.stat said at the begin of a window.
type cpuWindow struct {
	begin              time.Time
	periods, throttled uint64
}

// look reports what begins, and says how soon to look again.
func (l *levels) look(now time.Time, emit func(Event) bool) time.Duration {
	if l.told == nil {
		l.told = map[Kind]time.Time{}
	}
	wait := tick
	if used, limit, ok := memoryUse(l.memory); ok {
		percent := used * 100 / limit
		l.level(Event{Kind: Memory80, Limit: limit, Used: used}, percent, 80, now, emit)
		l.level(Event{Kind: Memory95, Limit: limit, Used: used}, percent, 95, now, emit)
		if percent >= 50 {
			wait = alertTick
		}
	}
	l.throttling(now, emit)
	for _, p := range []struct {
		kind Kind
		file string
		from uint64
	}{{MemoryPressure, "memory.pressure", 20}, {IOPressure, "io.pressure", 50}} {
		if dir := l.memory; dir != "" {
			percent := someAvg10(filepath.Join(dir, p.file))
			l.level(Event{Kind: p.kind, Used: percent}, percent, p.from, now, emit)
		}
	}
	return wait
}

// level tells of a state that is entered at a number of percent, and left some
// below.
func (l *levels) level(e Event, percent, from uint64, now time.Time, emit func(Event) bool) {
	told, in := l.told[e.Kind]
	switch {
	case percent < from-from/10:
		delete(l.told, e.Kind)
	case percent >= from && (!in || now.Sub(told) >= repeat):
		if emit(e) {
			l.told[e.Kind] = now
		}
	}
}

func (l *levels) throttling(now time.Time, emit func(Event) bool) {
	if l.cpu == "" {
		return
	}
	w := &l.window
	if !w.begin.IsZero() && now.Sub(w.begin) < throttleWindow {
		return
	}
	file := filepath.Join(l.cpu, "cpu.stat")
	periods, throttled := keyed(file, "nr_periods"), keyed(file, "nr_throttled")
	percent := uint64(0)
	// Fewer periods than these are of a sandbox that hardly runs.
	if p := periods - w.periods; !w.begin.IsZero() && p >= 10 && periods >= w.periods {
		percent = (throttled - w.throttled) * 100 / p
	}
	*w = cpuWindow{now, periods, throttled}
	l.level(Event{Kind: CPUThrottled, Used: percent}, percent, 50, now, emit)
}

// memoryUse is what cannot be dropped, and the limit; not ok without a limit.
func memoryUse(dir string) (used, limit uint64, ok bool) {
	if dir == "" {
		return 0, 0, false
	}
	current, maximum, inactive := "memory.current", "memory.max", "inactive_file"
	if limit = number(dir, maximum); limit == 0 {
		current, maximum, inactive = "memory.usage_in_bytes", "memory.limit_in_bytes", "total_inactive_file"
		limit = number(dir, maximum)
	}
	if limit == 0 || limit >= noLimit {
		return 0, 0, false
	}
	used = number(dir, current)
	if used*2 > limit { // else it does not matter
		used -= min(keyed(filepath.Join(dir, "memory.stat"), inactive), used)
	}
	return used, limit, true
}

// noLimit and more is what v1 shows where there is none.
const noLimit = 1 << 62

// someAvg10 is the percentage of the last ten seconds in which some process
// waited (the kernel's accounting/psi document); 0 where that is not accounted.
func someAvg10(file string) uint64 {
	data, err := readBounded(file)
	if err != nil {
		return 0
	}
	return uint64(parseSome(data))
}

// parseSome is the avg10 of a pressure file's line that begins with some.
func parseSome(data string) float64 {
	for line := range strings.Lines(data) {
		f := strings.Fields(line)
		if len(f) < 2 || f[0] != "some" {
			continue
		}
		value, ok := strings.CutPrefix(f[1], "avg10=")
		n, err := strconv.ParseFloat(value, 64)
		if !ok || err != nil || n < 0 || n > 100 {
			return 0
		}
		return n
	}
	return 0
}
