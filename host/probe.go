// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	moby "github.com/moby/sys/user"
	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/cgroups"
	"github.com/claude-pocket-console/cpc/internal/dirs"
)

// Options are what a probe is about.
type Options struct {
	Dirs   dirs.Dirs
	Limits cgroups.Limits // the default ones
	// Runtime is the OCI runtime that cpc would start; RuntimeErr says why
	// there is none.
	Runtime    string
	RuntimeErr error
}

// Probe finds out about the host. What cannot be found out is a fact as well,
// so it fails only where the kernel's own files cannot be read.
func Probe(o Options) (Facts, error) {
	f := Facts{UID: os.Getuid(), User: strconv.Itoa(os.Getuid()), Sysctls: sysctls("/proc/sys")}
	if u, err := user.Current(); err == nil {
		f.User = u.Username
	}
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return f, fmt.Errorf("uname: %w", err)
	}
	f.Kernel = unix.ByteSliceToString(name.Release[:])
	f.Helpers = []Helper{helper("newuidmap", unix.CAP_SETUID), helper("newgidmap", unix.CAP_SETGID)}
	f.RangeUID, f.RangeGID, f.FreeRange = SubIDs(f.User, f.UID)
	if err := f.probeCgroups(o.Limits); err != nil {
		return f, err
	}
	f.Linger = exists("/var/lib/systemd/linger/" + f.User)
	f.RuntimeDir = exists("/run/user/" + strconv.Itoa(f.UID))
	f.LSM = probeLSM()
	f.Data, f.State = spaceIn(o.Dirs.Data), spaceIn(o.Dirs.State)
	f.Runtime = probeRuntime(o)
	f.DiskTool.Path, f.DiskTool.Error = find("fuse2fs")
	f.Trials = inNamespaces(o.Dirs)
	return f, nil
}

// sysctls reads those that concern user namespaces; which there are depends on
// the distribution.
func sysctls(dir string) map[string]string {
	found := map[string]string{}
	for _, s := range []string{"user.max_user_namespaces", "user.max_net_namespaces", "kernel.unprivileged_userns_clone", "kernel.apparmor_restrict_unprivileged_userns"} {
		if v := read(filepath.Join(dir, strings.ReplaceAll(s, ".", "/"))); v != "" {
			found[s] = v
		}
	}
	return found
}

func (f *Facts) probeCgroups(l cgroups.Limits) error {
	var err error
	if f.Cgroups, err = cgroups.Probe(); err != nil {
		return err
	}
	plan, err := f.Cgroups.Plan("doctor", l)
	if err != nil {
		return err
	}
	f.Missing = plan.Missing
	if f.Cgroups.Layout != cgroups.Unified || f.Cgroups.Base == "" {
		return nil
	}
	dir := f.Cgroups.Base
	if f.Cgroups.Driver == cgroups.DriverSystemd {
		// The slice has those only that somebody in it uses by now, if it was
		// made at all; systemd turns on what is asked for of those above.
		dir = filepath.Dir(dir)
	}
	f.Controllers = strings.Fields(read(dir + "/cgroup.controllers"))
	return nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// read returns a small file of the kernel's, without the line's end, or "".
func read(path string) string {
	data, err := os.ReadFile(filepath.Clean(path))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}

// find looks for a program also where only root has a PATH.
func find(name string) (path, problem string) {
	if path, err := exec.LookPath(name); err == nil {
		return path, ""
	}
	for _, dir := range []string{"/usr/sbin", "/sbin", "/usr/local/sbin"} {
		if path := filepath.Join(dir, name); exists(path) {
			return path, ""
		}
	}
	return "", name + " is not installed"
}

// helper looks whether the program can do what it is for.
func helper(name string, capability uint) Helper {
	h := Helper{Name: name}
	path, err := exec.LookPath(name)
	if err != nil {
		return h
	}
	h.Path = path
	var st unix.Stat_t
	if unix.Stat(path, &st) == nil && st.Mode&unix.S_ISUID != 0 && st.Uid == 0 {
		h.Able = true
		return h
	}
	h.Able = fileCapability(path, capability)
	return h
}

// fileCapability reads the permitted set of security.capability (struct
// vfs_cap_data, revisions 2 and 3: magic, then pairs of permitted and inheritable).
func fileCapability(path string, capability uint) bool {
	buf := make([]byte, 24)
	n, err := unix.Getxattr(path, "security.capability", buf)
	if err != nil || n < 20 || capability >= 32 {
		return false
	}
	permitted := uint32(buf[4]) | uint32(buf[5])<<8 | uint32(buf[6])<<16 | uint32(buf[7])<<24
	return permitted&(1<<capability) != 0
}

// SubIDs returns how many subordinate ids the user has in one range, and the
// first id from which on no range of anybody's has any.
func SubIDs(name string, uid int) (uids, gids, free int) {
	free = 100_000
	largest := func(file string) int {
		n := 0
		entries, err := moby.ParseSubIDFile(file)
		if err != nil {
			return 0
		}
		for _, e := range entries {
			if end := e.SubID + e.Count; end < 1<<31 {
				free = max(free, int(end))
			}
			if e.Name == name || e.Name == strconv.Itoa(uid) {
				n = max(n, int(e.Count))
			}
		}
		return n
	}
	uids, gids = largest("/etc/subuid"), largest("/etc/subgid")
	return uids, gids, free
}

func probeLSM() LSM {
	l := LSM{AppArmor: read("/sys/module/apparmor/parameters/enabled") == "Y"}
	if l.AppArmor {
		// The names are to be seen by everybody, each with a number after it;
		// the file "profiles" is root's.
		profiles, err := os.ReadDir("/sys/kernel/security/apparmor/policy/profiles")
		l.Readable = err == nil
		loaded := func(name string) bool {
			return slices.ContainsFunc(profiles, func(e os.DirEntry) bool {
				before, _, _ := strings.Cut(e.Name(), ".")
				return before == name
			})
		}
		l.Programs, l.Sandbox = loaded("cpc"), loaded("cpc-sandbox")
		l.Confined = enforced(read("/proc/self/attr/apparmor/current"))
	}
	switch read("/sys/fs/selinux/enforce") {
	case "0":
		l.SELinux = "permissive"
	case "1":
		l.SELinux = "enforcing"
	}
	return l
}

// enforced returns the profile of a label that restricts its process, or "".
func enforced(label string) string {
	profile, ok := strings.CutSuffix(label, " (enforce)")
	if !ok {
		return ""
	}
	return profile
}

func spaceIn(dir string) Space {
	s := Space{Path: dir}
	var st unix.Statfs_t
	err := unix.Statfs(dir, &st)
	if err == nil {
		err = writable(dir)
	}
	if err != nil {
		s.Error = err.Error()
		return s
	}
	s.Free = st.Bavail * uint64(st.Bsize) //nolint:gosec // a block has a size
	s.Inodes, s.NoInodes = st.Ffree, st.Files == 0
	return s
}

// writable makes a file and removes it.
func writable(dir string) error {
	file, err := os.CreateTemp(dir, "doctor-*")
	if err != nil {
		return err
	}
	_, err = file.WriteString("x")
	return errors.Join(err, file.Close(), os.Remove(file.Name()))
}

func probeRuntime(o Options) Program {
	p := Program{Path: o.Runtime}
	if o.RuntimeErr != nil {
		p.Error = o.RuntimeErr.Error()
		return p
	}
	out, err := exec.Command(o.Runtime, "--version").Output() //nolint:gosec // the program that run would start
	if err != nil {
		p.Error = fmt.Sprintf("%s --version: %v", o.Runtime, err)
		return p
	}
	p.Says, _, _ = strings.Cut(strings.TrimSpace(string(out)), "\n")
	return p
}
