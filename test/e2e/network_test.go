// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// What the sandbox asks for, and how it is answered. The host that is let out is
// the one that the base image's packages come from.
const askNetwork = `
ask() { exec 3<>/dev/tcp/$1/80 && printf 'HEAD / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n' "$2" >&3 && head -n 1 <&3 | tr -d '\r'; }
echo "allowed: $(ask deb.debian.org deb.debian.org | cut -d ' ' -f 1)"
echo "other host: $(ask deb.debian.org example.com | cut -d ' ' -f 2)"
echo "other name: $(getent hosts example.com || echo none)"
echo "other port: $( (exec 3<>/dev/tcp/deb.debian.org/8080) 2>&1 | grep -o 'Connection refused\|No route.*\|Network.*' | head -n 1)"
echo "by address: $( (exec 3<>/dev/tcp/192.0.2.1/80) 2>&1 | grep -o 'Connection refused\|No route.*\|Network.*' | head -n 1)"
`

func TestAllowlist(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		out := w.must(t, "run", "--rm", "--network", "allowlist", "--egress", "deb.debian.org:80", base, "bash", "-c", askNetwork)
		got := facts(out, ":")
		if !strings.HasPrefix(got["allowed"], "HTTP/1.") {
			t.Errorf("what the rule names is not let out: %q", out)
		}
		if got["other host"] != "403" {
			t.Errorf("the Host of another: %q, want 403", got["other host"])
		}
		if got["other name"] != "none" {
			t.Errorf("a name that no rule has: %q", got["other name"])
		}
		for _, what := range []string{"other port", "by address"} {
			if got[what] == "" {
				t.Errorf("%s: not refused: %q", what, out)
			}
		}
	})
}

// Whose program could not reach something is told, also if it ends well all the same, as a
// shell does; nobody else is. So is who is attached at the end.
func TestRefusedIsTold(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		ask := "getent hosts nobody.example; exit "
		_, stderr, code := w.run(t, "run", "--rm", base, "bash", "-c", ask+"3")
		if code != 3 || !strings.Contains(stderr, "the network did not let the sandbox reach:\n  nobody.example: ") ||
			!strings.Contains(stderr, "cpc run --egress @default --egress nobody.example\n") {
			t.Errorf("status %d, %q", code, stderr)
		}
		_, stderr, code = w.run(t, "run", "--rm", base, "bash", "-c", ask+"0")
		if code != 0 || !strings.Contains(stderr, "did not let the sandbox reach:\n  nobody.example: ") {
			t.Errorf("status %d, %q", code, stderr)
		}
		if _, stderr, code = w.run(t, "run", "--rm", base, "true"); code != 0 || strings.Contains(stderr, "did not let") {
			t.Errorf("status %d, %q", code, stderr)
		}
		name := w.detach(t, nil, "bash", "-c", "until [ -e /tmp/go ]; do sleep 0.1; done; "+ask+"4")
		end := make(chan string, 1)
		go func() {
			_, stderr, code := w.run(t, "attach", "--no-stdin", name)
			end <- fmt.Sprintf("%d %s", code, stderr)
		}()
		for deadline := time.Now().Add(20 * time.Second); !strings.Contains(w.actions(t, name), " attach") && time.Now().Before(deadline); {
			time.Sleep(50 * time.Millisecond)
		}
		w.must(t, "exec", name, "touch", "/tmp/go")
		if got := <-end; !strings.HasPrefix(got, "4 ") || !strings.Contains(got, "cpc run --egress @default --egress nobody.example\n") {
			t.Errorf("attach: %q", got)
		}
	})
}

// Who says nothing gets the default policy; a rule takes its place, and needs
// the network that has rules.
func TestDefaultPolicy(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		const ask = "for h in deb.debian.org pypi.org example.com github.com; do getent hosts $h >/dev/null && echo $h; done; true"
		for _, c := range []struct{ flags, want string }{
			{"", "deb.debian.org pypi.org"},
			{"--network bridge", "deb.debian.org pypi.org"},
			{"--egress example.com", "example.com"},
			{"--egress @default --egress example.com", "deb.debian.org pypi.org example.com"},
			{"--network none", ""},
		} {
			args := append([]string{"run", "--rm"}, strings.Fields(c.flags)...)
			out := w.must(t, append(args, base, "sh", "-c", ask)...)
			if got := strings.Join(strings.Fields(out), " "); got != c.want {
				t.Errorf("%q: %q resolve, want %q", c.flags, got, c.want)
			}
		}
		for _, args := range [][]string{
			{"--network", "none", "--egress", "deb.debian.org"},
			{"--egress", "not a host"},
		} {
			_, stderr, code := w.run(t, append(append([]string{"run", "--rm"}, args...), base, "true")...)
			if code != 125 || !strings.Contains(stderr, "--egress") {
				t.Errorf("%q: exit status %d, %q", args, code, stderr)
			}
		}
	})
}

// Sockets of families that no network namespace keeps apart (AF_VSOCK leads to the
// hypervisor that the host runs on) are no way around the gateway: root with every
// capability has those of the internet, of the sandbox's own programs, and netlink.
func TestSocketFamilies(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		const ask = `for my $f (0..63) { for my $t (1, 2, 3, 5) { if (socket(my $s, $f, $t, 0)) { print "$f "; last } } }`
		out := w.must(t, "run", "--rm", "--user", "0", "--cap-add", "ALL", base, "perl", "-e", ask)
		if got := strings.TrimSpace(out); got != "1 2 10 16" {
			t.Errorf("socket families %s, want AF_UNIX, AF_INET, AF_INET6 and AF_NETLINK: 1 2 10 16", got)
		}
	})
}
