// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package bundle

import (
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/claude-pocket-console/cpc/internal/idmap"
)

func TestIsHome(t *testing.T) {
	for _, p := range []string{"/root", "/home/node", "/home/a/b", "/var/www", "/var/lib/postgresql", "/usr/share/elasticsearch", "/app", "/srv/x", "/run/x"} {
		if !IsHome(p) {
			t.Errorf("%s is none", p)
		}
	}
	for _, p := range []string{
		"", "/", "home", "/home/../etc", "/home/", "/home", "/usr", "/usr/sbin", "/bin", "/etc", "/etc/x", "/dev", "/dev/shm", "/proc", "/proc/1", "/sys",
		"/var", "/run", "/nonexistent", "/lib/x", HostCAPath,
	} {
		if IsHome(p) {
			t.Errorf("%q is one", p)
		}
	}
}

// TestWhoseHome: what the caller has put somewhere wins.
func TestWhoseHome(t *testing.T) {
	o := Defaults()
	if !o.NeedsHome("/root") || o.NeedsHome("/tmp") || o.NeedsHome(VarTmp) {
		t.Error("defaults")
	}
	o.Tmpfs = append(o.Tmpfs, Tmpfs{Path: "/root"}, Tmpfs{Path: "/home"})
	if o.NeedsHome("/root") || !o.NeedsHome("/home/a") {
		t.Error("with tmpfs of the caller's")
	}
	o.Binds = []Bind{{Target: "/home"}}
	if o.NeedsHome("/home/a") || !o.NeedsHome("/homer") {
		t.Error("below a volume")
	}
	if o := BuildStep(); o.NeedsHome("/root") || len(o.SystemPaths()) > 0 {
		t.Error("a step has places of its own")
	}
}

func TestSystemPaths(t *testing.T) {
	for want, change := range map[string]func(o *Options){
		"/run /var/tmp": func(*Options) {},
		"/run":          func(o *Options) { o.Tmpfs = append(o.Tmpfs, Tmpfs{Path: VarTmp}) },
		"/var/tmp":      func(o *Options) { o.Binds = []Bind{{Target: Run}} },
		"":              func(o *Options) { o.ReadOnly = false },
	} {
		o := Defaults()
		change(&o)
		if got := strings.Join(o.SystemPaths(), " "); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// TestHomeInEnvironment: HOME names a place that can be written, where there is one.
func TestHomeInEnvironment(t *testing.T) {
	own := []Tmpfs{{Path: DefaultHome}}
	for _, c := range []struct {
		user, made string // the image's home, and where one was made
		uid        uint32
		tmpfs      []Tmpfs
		want       string
	}{
		{user: "/home/node", made: "/home/node", uid: 1000, want: "/home/node"},
		{user: "/root", made: "/root", want: "/root"},
		{user: "/home/node", made: "/home/node", uid: 1000, tmpfs: own, want: "/home/node"},
		{user: "/", made: DefaultHome, uid: 1000, want: DefaultHome},
		{user: "/", made: DefaultHome, want: DefaultHome},
		{user: "/usr/sbin", made: DefaultHome, uid: 1, want: DefaultHome},
		{user: "/usr/sbin", uid: 1, tmpfs: own, want: DefaultHome},
		{user: "", uid: 7, want: "/"},
		{user: "/", tmpfs: own, want: "/"},
		{user: "/tmp", made: "", uid: 1, tmpfs: []Tmpfs{{Path: "/tmp"}}, want: "/tmp"},
		{user: "/nonexistent", made: "/root", uid: 65534, want: "/nonexistent"},
	} {
		in := input(Defaults(), idmap.ForMapped())
		in.User, in.Tmpfs, in.Home = ResolvedUser{UID: c.uid, Home: c.user}, c.tmpfs, Home{Path: c.made, Kind: HomeMemory}
		if got := in.home(); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}

// TestHomeMounts: each kind is what it says, and never more than nosuid and nodev.
func TestHomeMounts(t *testing.T) {
	for kind, want := range map[HomeKind]string{
		HomeMemory:  "tmpfs tmpfs nosuid,exec,nodev,rw,mode=0700,uid=1000,gid=1000,size=4096",
		HomeOverlay: "bind /stage/home bind,rprivate,nosuid,nodev",
		HomeCopy:    "bind /stage/home bind,rprivate,nosuid,nodev",
		HomeRoot:    "",
	} {
		in := input(Defaults(), idmap.ForMapped())
		in.Home = Home{Path: "/home/n", Kind: kind, Source: "/stage/home", Size: 4096}
		mounts, err := in.mounts()
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, m := range mounts {
			if m.Destination == "/home/n" {
				got += m.Type + " " + m.Source + " " + strings.Join(m.Options, ",")
			}
		}
		if got != want {
			t.Errorf("%s: %q, want %q", kind, got, want)
		}
	}
	in := input(Defaults(), idmap.ForMapped())
	in.Binds = []Bind{{Source: "/stage/run", Target: Run, NoExec: true}}
	mounts, err := in.mounts()
	if err != nil || !slices.ContainsFunc(mounts, func(m specs.Mount) bool { return m.Destination == Run && slices.Contains(m.Options, "noexec") }) {
		t.Errorf("/run: %v, %v", mounts, err)
	}
}
