// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/testkit"
)

// TestRecordOfKilledMonitor: a monitor that is killed leaves where a connection
// went that was open, and how much was sent on it.
func TestRecordOfKilledMonitor(t *testing.T) {
	eachOf(t, []string{mapped}, func(t *testing.T, w *who) {
		// Not the end of a head: the host waits for more.
		const speak = `exec 3<>/dev/tcp/deb.debian.org/80 && printf 'HEAD / HTTP/1.1\r\nX: ' >&3 && sleep 300`
		name := w.detach(t, []string{"--egress", "deb.debian.org:80/raw"}, "bash", "-c", speak)
		dir := filepath.Join(w.data, "*", w.inspect(t, name, ".Id"), "network", "sums")
		testkit.Eventually(t, time.Minute, "sums are kept", func() bool {
			all, err := filepath.Glob(dir)
			if err != nil || len(all) != 1 {
				return false
			}
			raw, err := os.ReadFile(all[0])
			return err == nil && bytes.Contains(raw, []byte(`"sent":20`))
		})
		if out := w.must(t, "net", "log", "--json", name); strings.Contains(out, `"summary"`) {
			t.Errorf("a sum of a sandbox that runs: %s", out)
		}
		if err := unix.Kill(w.hostPID(t, name, ".State.MonitorPid"), unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		w.noProcesses(t, 10*time.Second)
		found := false
		for line := range strings.Lines(w.must(t, "net", "log", "--json", name)) {
			var d struct {
				Kind, Name, Addr, Upstream string
				Port, Sent, Count          int
			}
			if err := json.Unmarshal([]byte(line), &d); err != nil {
				t.Errorf("%q: %v", line, err)
			}
			found = found || d.Kind == "summary" && d.Name == "deb.debian.org" && d.Addr != "" && d.Upstream != "" && d.Port == 80 && d.Sent == 20 && d.Count == 1
		}
		if said := w.must(t, "net", "log", name); !found || !strings.Contains(said, "20 bytes sent") || !strings.Contains(said, "monitor was killed") {
			t.Errorf("the log lacks the open connection: %s", said)
		}
		w.must(t, "rm", "-f", name)
	})
}
