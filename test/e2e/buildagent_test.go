// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/claude-pocket-console/cpc/internal/testkit"
)

// The step asks the agent for its keys (11), and to forget them all (19), which
// it is refused (5).
const agentDockerfile = "FROM " + base + `
RUN --mount=type=ssh <<"EOF" perl -MIO::Socket::UNIX > /out
  sub ask {
    my $s = IO::Socket::UNIX->new($ENV{SSH_AUTH_SOCK}) or die "$ENV{SSH_AUTH_SOCK}: $!";
    syswrite $s, pack("NC", 1, shift);
    read $s, my $length, 4; # it may come alone
    read $s, my $answer, unpack("N", $length);
    return $length . $answer;
  }
  my $keys = ask(11);
  printf "%d keys, %s, answer %d\n", unpack("x5N", $keys), $keys =~ /ssh-ed25519/ ? "known" : "unknown", unpack("x4C", ask(19));
EOF
`

// TestBuildAgent lets a step use a real ssh-agent: list its keys, and no more.
func TestBuildAgent(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		dir, err := os.MkdirTemp(w.home, "agent-") //nolint:usetesting // where the caller can go
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := removeTree(dir); err != nil {
				t.Error(err)
			}
		})
		if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(agentDockerfile), 0o644); err != nil { //nolint:gosec // a build context
			t.Fatal(err)
		}
		if err := os.Chown(dir, w.uid, w.gid); err != nil {
			t.Fatal(err)
		}
		socket, key := filepath.Join(dir, "socket"), filepath.Join(dir, "key")
		agent := w.command("ssh-agent", "-D", "-a", socket)
		if err := agent.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = agent.Process.Kill()
			_ = agent.Wait()
		})
		testkit.Eventually(t, testkit.Patience, "there is an agent", func() bool { _, err := os.Stat(socket); return err == nil })
		client := func(args ...string) string {
			t.Helper()
			cmd := w.command(args[0], args[1:]...)
			if args[0] == w.bin {
				cmd = w.cpc(t, args[1:]...)
			}
			cmd.Env = append(cmd.Env, "SSH_AUTH_SOCK="+socket)
			r := finish(t, cmd)
			if r.code != 0 {
				t.Fatalf("%s: exit status %d\n%s", strings.Join(args, " "), r.code, r.stderr)
			}
			return r.stdout
		}
		client("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "e2e-key", "-f", key)
		client("ssh-add", "-q", key)
		const image, want = "cpc-e2e/agent", "1 keys, known, answer 5\n"
		for _, ssh := range []string{"default", "default=" + socket, "default=" + key} {
			client(w.bin, "build", "-q", "--sbom=false", "--no-cache", "--ssh", ssh, "-t", image, dir)
			if got := w.must(t, "run", "--rm", image, "cat", "/out"); got != want {
				t.Errorf("--ssh %s: %q, want %q", ssh, got, want)
			}
		}
		if got := client("ssh-add", "-l"); !strings.Contains(got, "e2e-key") {
			t.Errorf("the agent has now: %s", got)
		}
		w.must(t, "rmi", image)
	})
}
