// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A store that is mounted read-only can be read. What writes says why it cannot.
func TestReadOnlyStore(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can mount a directory read-only")
	}
	each(t, func(t *testing.T, w *who) {
		o, dir := newStore(t, w), w.buildDir(t)
		put(t, filepath.Join(dir, "hello"), "hello\n")
		put(t, filepath.Join(dir, "Dockerfile"), "FROM scratch\nCOPY hello /d/\nLABEL a=b\n")
		o.must(t, "build", "-q", "--sbom=false", "-t", "img", dir)
		data := o.dir + "/data"
		if err := unix.Mount(data, data, "", unix.MS_BIND, ""); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := unix.Unmount(data, unix.MNT_DETACH); err != nil {
				t.Error(err)
			}
		})
		if err := unix.Mount("", data, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct{ want, args string }{
			{"img", "images"},
			{`"a": "b"`, "inspect img"},
			{"LABEL", "history img"},
			{"SANDBOX ID", "ps -a"},
			{"Images", "system df"},
			{"No damage found", "system check"},
			{`"spdxVersion"`, "sbom img"},
			{"", "save -o " + o.dir + "/saved.tar img"},
			{"", "export -o " + o.dir + "/tree.tar img"},
		} {
			if out := o.must(t, strings.Fields(c.args)...); !strings.Contains(out, c.want) {
				t.Errorf("cpc %s: %s, want %s", c.args, out, c.want)
			}
		}
		if out, err := w.command("tar", "-xOf", o.dir+"/tree.tar", "d/hello").CombinedOutput(); string(out) != "hello\n" {
			t.Errorf("exported: %s, %v", out, err)
		}
		for _, args := range []string{
			"tag img other", "rmi img", "load -i " + o.dir + "/saved.tar", "build " + dir, "system prune -f", "run --rm img /d/hello",
		} {
			code := 1
			if strings.HasPrefix(args, "run") {
				code = 125
			}
			o.fails(t, code, []string{"read-only file system", "CPC_DATA_DIR"}, strings.Fields(args)...)
		}
	})
}
