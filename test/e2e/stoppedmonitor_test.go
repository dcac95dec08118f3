// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/testkit"
)

// A monitor that somebody has stopped holds up no command: each says what to do,
// and rm -f ends the sandbox.
func TestStoppedMonitor(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		name := w.detach(t, nil, "sleep", "1000")
		monitor := w.hostPID(t, name, ".State.MonitorPid")
		init := w.hostPID(t, name, ".State.Pid")
		kill(t, monitor, unix.SIGSTOP)
		testkit.Eventually(t, soon, "it is stopped", func() bool {
			stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", monitor))
			return err == nil && strings.Contains(string(stat), ") T ")
		})
		var all sync.WaitGroup
		for _, command := range []string{"exec %s true", "stop -t 1 %s", "kill %s", "wait %s", "attach %s", "net show %s", "pause %s"} {
			all.Go(func() {
				begun := time.Now()
				_, stderr, code := w.run(t, strings.Fields(fmt.Sprintf(command, name))...)
				if code != 1 || !strings.Contains(stderr, fmt.Sprintf("kill -CONT %d", monitor)) {
					t.Errorf("cpc %s: status %d: %s", command, code, stderr)
				}
				answered(t, command, begun)
			})
		}
		all.Wait()
		w.must(t, "rm", "-f", name)
		testkit.Eventually(t, soon, "nothing of it is left", func() bool { return !alive(init) && !alive(monitor) })
		if out := w.must(t, "ps", "-aq", "--no-trunc", "--filter", "name="+name); out != "" {
			t.Errorf("it is still known: %s", out)
		}
	})
}

// TestReplacedSocket puts something else in the place of a sandbox's control socket.
// Each command says so at once or soon, asks nobody else, and rm -f ends the sandbox.
func TestReplacedSocket(t *testing.T) {
	eachOf(t, []string{mapped}, func(t *testing.T, w *who) {
		for kind, want := range map[string]string{
			"link": "a symbolic link", "FIFO": "a FIFO", "socket": "one of uid 0", "gone": "no such file", "other": "one of uid 0",
		} {
			t.Run(kind, func(t *testing.T) {
				t.Parallel()
				w.replaceSocket(t, kind, want)
			})
		}
	})
}

func (w *who) replaceSocket(t *testing.T, kind, want string) {
	t.Helper()
	name := w.detach(t, nil, "sleep", "1000")
	id := strings.TrimSpace(w.must(t, "inspect", "-f", "{{.Id}}", name))
	init := w.hostPID(t, name, ".State.Pid")
	path := filepath.Join(w.state, "sandboxes", id, "control.sock")
	if err := os.Rename(path, path+".aside"); err != nil {
		t.Fatal(err)
	}
	switch kind {
	case "gone":
	case "socket", "other":
		l, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: shortPath(t, path)})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if kind == "other" { // as far as the file shows; whose it is, is seen once one is connected
			err = os.Lchown(path, w.uid, w.gid)
		}
		if err != nil {
			t.Fatal(err)
		}
	default:
		if err := w.plant(path, kind); err != nil {
			t.Fatal(err)
		}
	}
	var all sync.WaitGroup
	for _, command := range []string{"exec %s true", "stop -t 0 %s", "kill %s", "wait %s"} {
		all.Go(func() {
			_, stderr, code := w.run(t, strings.Fields(fmt.Sprintf(command, name))...)
			if code != 1 || !strings.Contains(stderr, want) || !strings.Contains(stderr, "cpc rm -f "+name) || strings.Contains(stderr, "/proc/") {
				t.Errorf("cpc %s: status %d: %s", command, code, stderr)
			}
		})
	}
	all.Wait()
	w.must(t, "rm", "-f", name)
	testkit.Eventually(t, soon, "nothing of it is left", func() bool { return !alive(init) })
}

// shortPath is another name for path, which may be too long for the address of a socket.
func shortPath(t *testing.T, path string) string {
	t.Helper()
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dir.Close() })
	return fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path))
}
