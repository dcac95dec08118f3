// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/claude-pocket-console/cpc/internal/testkit"
)

// holder accepts connections and holds them.
func holder(t *testing.T) (address string, held *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	held = &atomic.Int64{}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			held.Add(1)
			go func() {
				_, _ = c.Read(make([]byte, 1))
				_ = c.Close()
			}()
		}
	}()
	return l.Addr().String(), held
}

// A sandbox that holds all the connections that it can, where descriptors are few,
// does not lock its owner out.
func TestOwnerIsNotLockedOut(t *testing.T) {
	const script = `use Socket; my @held; my $to = sockaddr_in(9000, inet_aton("hold.test")); $SIG{TERM} = sub { exit 0 }; $SIG{USR2} = 'IGNORE';
		for (1 .. 512) { socket(my $s, PF_INET, SOCK_STREAM, 0) or last; connect($s, $to); push @held, $s } sleep 1000`
	eachOf(t, []string{root, single}, func(t *testing.T, w *who) {
		address, held := holder(t)
		proxy := serveProxy(t, address, &lockedBuffer{})
		start := func() string {
			name, before := w.name(t), held.Load()
			cmd := w.cpc(t, "run", "-d", "--name", name, "--proxy", "--egress", "hold.test:9000", base, "perl", "-e", script)
			cmd.Env = append(cmd.Env, "HTTPS_PROXY=http://"+proxy, "HTTP_PROXY=http://"+proxy)
			cmd.Args = append([]string{"sh", "-c", `ulimit -n 1024; exec "$0" "$@"`, cmd.Path}, cmd.Args[1:]...)
			cmd.Path = "/bin/sh"
			if r := finish(t, cmd); r.code != 0 {
				t.Fatalf("cpc run: %d: %s", r.code, r.stderr)
			}
			testkit.Eventually(t, soon, "a quarter of the descriptors is in use", func() bool { return held.Load()-before >= 256 })
			return name
		}
		for i, name := range []string{start(), start()} {
			for _, command := range [][]string{{"exec %s true", "kill -s USR2 %s", "stop -t 5 %s"}, {"net show %s", "rm -f %s"}}[i] {
				begun := time.Now()
				w.must(t, strings.Fields(strings.ReplaceAll(command, "%s", name))...)
				answered(t, command, begun)
			}
		}
	})
}
