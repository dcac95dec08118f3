// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestNotify: in a unit of Type=notify, systemd hears when the program runs and
// who looks after it; the program does not see systemd's socket.
func TestNotify(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		for _, detached := range []bool{false, true} {
			path := filepath.Join(w.home, fmt.Sprintf("notify-%v", detached))
			l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			if err := os.Chown(path, w.uid, w.gid); err != nil {
				t.Fatal(err)
			}
			args := []string{"run", "--rm", "--name", "notify"}
			if detached {
				args = append(args, "-d")
			}
			cmd := w.cpc(t, append(args, base, "sh", "-c", "echo \"socket ${NOTIFY_SOCKET-none}\"; sleep 1")...)
			cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+path)
			r := finish(t, cmd)
			if r.code != 0 || !detached && r.stdout != "socket none\n" {
				t.Errorf("exit status %d; the program sees systemd's socket? %s%s", r.code, r.stdout, r.stderr)
			}
			got := notifications(t, l)
			if !strings.HasPrefix(got, "READY=1\nSTATUS=sandbox notify of ") {
				t.Errorf("detached %v: systemd was told %q", detached, got)
			}
			if strings.Contains(got, "MAINPID=") != detached || strings.Contains(got, "STOPPING=1") == detached {
				t.Errorf("detached %v: systemd was told %q", detached, got)
			}
		}
	})
}

// notifications are the messages that have come, one after the other.
func notifications(t *testing.T, l *net.UnixConn) string {
	t.Helper()
	var all []string
	buf := make([]byte, 4096)
	for {
		if err := l.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		n, err := l.Read(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return strings.Join(all, "\n")
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(buf[:n]))
	}
}

// TestUmask: the caller's umask does not decide what a sandbox looks like.
func TestUmask(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		w.must(t, "images") // the base image is there
		r := finish(t, w.command("sh", "-c", `umask 077; exec "$0" "$@"`, w.bin, "run", "--rm", base,
			"sh", "-c", "umask; touch /tmp/x && stat -c %a /tmp/x /dev/shm /dev"))
		if want := "0022\n644\n1777\n755\n"; r.code != 0 || r.stdout != want {
			t.Errorf("exit status %d, %q, want %q; %s", r.code, r.stdout, want, r.stderr)
		}
	})
}
