// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
)

// TestDoctor: what the doctor finds is so on this host, for each caller; the
// exit status says the same, and nothing is left of what was tried.
func TestDoctor(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		r := finish(t, w.command(w.bin, "doctor", "--json"))
		var report struct {
			Ready  bool
			Checks []struct{ Name, Status, Found, Why, Fix string }
		}
		if err := json.Unmarshal([]byte(r.stdout), &report); err != nil {
			t.Fatalf("%v: %s%s", err, r.stdout, r.stderr)
		}
		status := map[string]string{}
		failed := false
		for _, c := range report.Checks {
			status[c.Name] = c.Status
			failed = failed || c.Status == "fail"
			if c.Status == "fail" && c.Fix == "" {
				t.Errorf("%s: %s, and nothing mends it", c.Name, c.Found)
			}
		}
		want := map[string]string{
			"user-namespaces": "ok", "nested-user-namespaces": "ok", "overlay": "ok", "veth": "ok", "nftables": "ok",
			"seccomp": "ok", "cpc-runtime": "ok", "subordinate-ids": "ok", "idmapped-mounts": "skipped",
		}
		switch w.mode {
		case root:
			want["subordinate-ids"], want["idmapped-mounts"] = "skipped", "ok"
		case single:
			want["subordinate-ids"] = "fail"
		}
		for name, s := range want {
			if status[name] != s {
				t.Errorf("%s: %q, want %q", name, status[name], s)
			}
		}
		if report.Ready == failed || (r.code == 0) != report.Ready {
			t.Errorf("ready %v, exit status %d, a check failed: %v", report.Ready, r.code, failed)
		}
		for _, dir := range []string{w.data, w.state} {
			if left, err := filepath.Glob(filepath.Join(dir, "doctor-*")); err != nil || len(left) > 0 {
				t.Errorf("left %q, %v", left, err)
			}
		}
		text := finish(t, w.command(w.bin, "doctor"))
		if text.code != r.code || !strings.HasPrefix(text.stdout, "ok       kernel ") {
			t.Errorf("exit status %d: %s", text.code, text.stdout)
		}
	})
}

// TestSetupNeedsRoot: an ordinary user sees what would be done, and no more.
func TestSetupNeedsRoot(t *testing.T) {
	eachOf(t, []string{mapped, single}, func(t *testing.T, w *who) {
		if r := finish(t, w.command(w.bin, "setup")); r.code != 1 || !strings.Contains(r.stderr, "sudo cpc setup") {
			t.Errorf("exit status %d: %s", r.code, r.stderr)
		}
		r := finish(t, w.command(w.bin, "setup", "--dry-run"))
		if (w.mode == single) != strings.Contains(r.stdout, "usermod --add-subuids ") || r.code != 0 {
			t.Errorf("exit status %d: %s%s", r.code, r.stdout, r.stderr)
		}
	})
}
