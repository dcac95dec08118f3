// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package dockerflag

import (
	"fmt"
	"slices"
	"strings"
)

// AllCaps is what --cap-add ALL and --cap-drop ALL are parsed to.
const AllCaps = "ALL"

// capabilities of Linux 6.x in the order of their numbers (capabilities(7)).
const capabilities = "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE " +
	"NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE " +
	"SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL " +
	"SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE"

// Capabilities returns every capability, CAP_CHOWN first, in kernel order.
func Capabilities() []string {
	names := strings.Fields(capabilities)
	for i, n := range names {
		names[i] = "CAP_" + n
	}
	return names
}

// DockerCaps returns the fourteen capabilities that docker gives by default.
func DockerCaps() []string {
	return []string{
		"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID", "CAP_SETUID",
		"CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SYS_CHROOT", "CAP_MKNOD", "CAP_AUDIT_WRITE", "CAP_SETFCAP",
	}
}

// ParseCap parses one --cap-add or --cap-drop: any case, CAP_ or not, or ALL.
func ParseCap(s string) (string, error) {
	name := strings.ToUpper(s)
	if name == AllCaps {
		return AllCaps, nil
	}
	if !strings.HasPrefix(name, "CAP_") {
		name = "CAP_" + name
	}
	known := Capabilities()
	if slices.Contains(known, name) {
		return name, nil
	}
	if near := Nearest(name, known); near != "" {
		return "", fmt.Errorf("unknown capability %q: did you mean %s?", s, strings.TrimPrefix(near, "CAP_"))
	}
	return "", fmt.Errorf("unknown capability %q (see capabilities(7))", s)
}

// CapSet applies drops and adds to base the way docker does: ALL in adds starts
// from everything, ALL in drops from nothing; then what is named is added and
// dropped, and a drop wins. The result is in kernel order.
func CapSet(base, add, drop []string) ([]string, error) {
	adds, err := parseCaps(add)
	if err != nil {
		return nil, fmt.Errorf("cap-add: %w", err)
	}
	drops, err := parseCaps(drop)
	if err != nil {
		return nil, fmt.Errorf("cap-drop: %w", err)
	}
	baseSet, err := parseCaps(base)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, c := range Capabilities() {
		in := slices.Contains(baseSet, c) && !slices.Contains(drops, AllCaps)
		in = in || slices.Contains(adds, AllCaps) || slices.Contains(adds, c)
		if in && !slices.Contains(drops, c) {
			out = append(out, c)
		}
	}
	return out, nil
}

func parseCaps(names []string) ([]string, error) {
	out := make([]string, 0, len(names))
	for _, n := range names {
		c, err := ParseCap(n)
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}
