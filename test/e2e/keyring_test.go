// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"os"
	goruntime "runtime"
	"strings"
	"testing"
)

// keyrings counts keys that exist for the caller and for the ids of its sandboxes.
func (w *who) keyrings(t *testing.T) (n int) {
	t.Helper()
	raw, err := os.ReadFile("/proc/key-users")
	if err != nil {
		t.Skip("the kernel has no keyrings:", err)
	}
	first, count := w.uid, 1
	if w.mode == mapped {
		if r := strings.TrimSpace(w.subordinate(t)); r != "" {
			if _, err := fmt.Sscanf(r, "%d:%d", &first, &count); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, line := range lines(string(raw)) {
		var uid, usage, keys, whole, quota int
		if _, err := fmt.Sscanf(line, "%d: %d %d/%d %d/", &uid, &usage, &keys, &whole, &quota); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if uid == w.uid || uid >= first && uid < first+count {
			n += quota
		}
	}
	return n
}

// subordinate returns the caller's range of ids, as FIRST:COUNT.
func (w *who) subordinate(t *testing.T) string {
	t.Helper()
	raw, err := os.ReadFile("/etc/subuid")
	if err != nil {
		t.Fatal(err)
	}
	user, err := w.command("id", "-un").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range lines(string(raw)) {
		if r, ok := strings.CutPrefix(line, strings.TrimSpace(string(user))+":"); ok {
			return r
		}
	}
	return ""
}

// The session keyring of a process, as keyctl(2) describes it; x86-64's number.
const describeKeyring = `my $b = "\0" x 200; my $n = syscall(250, 6, -3, $b, 200); print $n < 0 ? "refused\n" : substr($b, 0, $n) . "\n"`

// A user has 200 keyrings: sandboxes take none each, as long as they cannot
// reach the one that they share.
func TestSharedKeyring(t *testing.T) {
	if goruntime.GOARCH != "amd64" {
		t.Skip("no x86-64: the script has its system call numbers")
	}
	eachOf(t, []string{mapped, single}, func(t *testing.T, w *who) {
		w.detach(t, nil, "sleep", "1000")
		before := w.keyrings(t)
		name := w.detach(t, nil, "sleep", "1000")
		if after := w.keyrings(t); before == 0 || after > before {
			t.Errorf("a second sandbox takes keyrings: %d, then %d", before, after)
		}
		for _, args := range [][]string{{"exec", name}, {"run", "--rm", base}} {
			if got := w.must(t, append(args, "perl", "-e", describeKeyring)...); got != "refused\n" {
				t.Errorf("%s: the sandbox reaches its keyring: %s", args[0], got)
			}
		}
		// A control, where it has one of its own, and the calls with which to reach it.
		open := w.detach(t, []string{"--security-opt", "seccomp=unconfined"}, "sleep", "1000")
		if after := w.keyrings(t); after <= before {
			t.Errorf("with keyctl allowed: %d keyrings, then %d", before, after)
		}
		for range 2 { // the first, and one that joins
			got := w.must(t, "exec", open, "perl", "-e", describeKeyring)
			if !strings.HasPrefix(got, "keyring;") || !strings.Contains(got, ";_ses.") {
				t.Errorf("with keyctl allowed: %q", got)
			}
		}
	})
}
