// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"os"
	"path/filepath"
	"testing"
)

// TestOtherUsers: root lists the sandboxes of another user, who keeps them where cpc does by
// itself, and ends them. The test has a mount namespace of its own, with that user in its
// /etc/passwd.
func TestOtherUsers(t *testing.T) {
	eachOf(t, []string{root}, func(t *testing.T, w *who) {
		o := newStore(t, w)
		probe, err := theBed.probe()
		if err != nil {
			t.Fatal(err)
		}
		image := filepath.Join(o.dir, "probe.tar")
		if err := os.WriteFile(image, makeTar(t, entry{name: "probe", data: string(probe)}), 0o644); err != nil { //nolint:gosec // for the other user
			t.Fatal(err)
		}
		const script = `
exec 2>&1
bad() { echo "FAIL: $*"; }
mount --make-rprivate /
# All of /etc: a mount on the file alone is gone when somebody replaces the host's.
cp -a /etc "$DIR/etc"
mount --bind "$DIR/etc" /etc
echo 'walker:x:54321:54321::/tmp/walker:/bin/sh' >>/etc/passwd
exec 3<"$IMAGE"
mount -t tmpfs -o mode=1777 tmpfs /tmp
mkdir -m 700 /tmp/walker; chown 54321:54321 /tmp/walker
walker() { env -u CPC_DATA_DIR -u CPC_STATE_DIR -u XDG_RUNTIME_DIR HOME=/tmp/walker setpriv --reuid 54321 --regid 54321 --clear-groups "$CPC" "$@"; }
walker import - probe:1 <&3 >/dev/null || bad import
out=$(walker run -d --network none --limits best-effort --label a=b --name box probe:1 /probe sleep 300 2>/dev/null) || bad "run: $out"
[ "$($CPC ps --all-users --format '{{.User}} {{.Names}} {{.State}} {{.Label "a"}}')" = "walker box running b" ] || bad "ps: $($CPC ps --all-users)"
$CPC ps --all-users | grep -q '^walker  *[0-9a-f]\{12\}  *probe:1 ' || bad "table: $($CPC ps --all-users)"
[ -z "$($CPC ps -q --all-users --filter name=other)" ] || bad "filter: $($CPC ps --all-users --filter name=other)"
[ -z "$($CPC ps -aq)" ] || bad "root's own: $($CPC ps -a)"
$CPC ps --all-users -l >/dev/null 2>&1 && bad "--latest was taken"
$CPC as walker run probe:1 2>&1 | grep -q 'cannot do "run"' || bad "as can run"
[ "$($CPC as walker inspect -f '{{.State.Status}}' box)" = running ] || bad inspect
$CPC as walker stop -t 0 box >/dev/null || bad stop
$CPC as walker wait none >/dev/null 2>&1 && bad "status of a failure"
$CPC as walker rm box >/dev/null || bad rm
[ -z "$($CPC ps -aq --all-users)" ] || bad "left: $($CPC ps -a --all-users)"
walker ps --all-users 2>&1 | grep -q 'only root' || bad "a user may list all"
walker as root ps 2>&1 | grep -q 'only root' || bad "a user may be root"
# A state directory that another user has made for walker is none of walker's.
rm -r /tmp/cpc-run-54321; mkdir /tmp/cpc-run-54321
[ -z "$($CPC ps -aq --all-users)" ] || bad "foreign directory"
echo done
`
		dir, err := os.MkdirTemp(w.home, "others-") //nolint:usetesting // removed with what was mounted there
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		cmd := o.command("unshare", "--mount", "sh", "-c", script)
		cmd.Env = append(o.cpc().Env, "CPC="+o.bin, "IMAGE="+image, "DIR="+dir)
		if r := finish(t, cmd); r.stdout != "done\n" {
			t.Error(r.stdout)
		}
	})
}
