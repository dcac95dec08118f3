// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package userns

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// namespaces is how many namespaces of a kind a sandbox may have: those that it
// is made of, and some for a browser's own sandbox where the filter is off.
const namespaces = 1024

// Quotas returns the limits of the sysctls user.* that one sandbox gets, by name.
// The kernel counts what they limit for the sandbox and for the user who made
// its user namespace, who must not go without: so a sandbox gets an eighth of what the
// host grants to a user (kernel/ucount.c; namespaces(7)). What this kernel does
// not limit is not in it.
func Quotas() map[string]uint64 {
	out := map[string]uint64{}
	for _, q := range []struct {
		name, host string
		least      uint64
	}{
		{"max_inotify_instances", "inotify/max_user_instances", 16},
		{"max_inotify_watches", "inotify/max_user_watches", 4096},
		{"max_fanotify_groups", "fanotify/max_user_groups", 16},
		{"max_fanotify_marks", "fanotify/max_user_marks", 1024},
	} {
		data, err := os.ReadFile("/proc/sys/fs/" + q.host)
		if err != nil {
			continue
		}
		n, err := strconv.ParseUint(strings.TrimSpace(string(data)), 10, 31)
		if err == nil && known(q.name) {
			out[q.name] = max(n/8, q.least)
		}
	}
	for _, kind := range []string{"cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"} {
		if name := "max_" + kind + "_namespaces"; known(name) {
			out[name] = namespaces
		}
	}
	return out
}

func known(name string) bool {
	_, err := os.Stat("/proc/sys/user/" + name)
	return err == nil
}

// limitQuotas sets Quotas for the user namespace that the caller is in, U0, and
// so for all that is below it: whatever ids those processes take, it counts for
// the one that made U1.
func limitQuotas() error {
	for name, n := range Quotas() {
		err := os.WriteFile("/proc/sys/user/"+name, []byte(strconv.FormatUint(n, 10)), 0)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("limit what the sandbox takes of the kernel: %w", err)
		}
	}
	return nil
}
