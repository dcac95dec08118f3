// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"fmt"
	"slices"
	"strings"

	units "github.com/docker/go-units"

	"github.com/claude-pocket-console/cpc/cgroups"
	"github.com/claude-pocket-console/cpc/internal/idmap"
)

// Status is how a check came out.
type Status string

const (
	// OK: nothing to do.
	OK Status = "ok"
	// Warn: sandboxes run, with something less.
	Warn Status = "warn"
	// Fail: what cpc promises does not hold here.
	Fail Status = "fail"
	// Skipped: does not concern this caller, or another failure prevents it.
	Skipped Status = "skipped"
)

// Check is one thing that was looked at.
type Check struct {
	Name   string `json:"name"`
	Status Status `json:"status"`
	Found  string `json:"found"`
	Why    string `json:"why"`           // it matters
	Fix    string `json:"fix,omitempty"` // what to type, where it is not ok
}

// Ready says whether no check failed.
func Ready(checks []Check) bool {
	return !slices.ContainsFunc(checks, func(c Check) bool { return c.Status == Fail })
}

// Evaluate makes the checks of what was found, in the order in which a person
// would mend them.
func Evaluate(f Facts) []Check {
	checks := []Check{f.kernel()}
	checks = append(checks, f.namespaces()...)
	checks = append(checks, f.ids()...)
	checks = append(checks, f.limits()...)
	checks = append(checks, f.session()...)
	checks = append(checks, f.modules()...)
	checks = append(checks, f.trials()...)
	return append(checks, f.programs()...)
}

func (f Facts) root() bool { return f.UID == 0 }

// kernel is the version for the reader; what it can do is tried.
func (f Facts) kernel() Check {
	c := Check{Name: "kernel", Status: OK, Found: "Linux " + f.Kernel, Why: "what sandboxes need of it is tried below; 5.14 or newer is tested"}
	var major, minor int
	if _, err := fmt.Sscanf(f.Kernel, "%d.%d", &major, &minor); err == nil && (major < 5 || major == 5 && minor < 14) {
		c.Status, c.Fix = Warn, "install a newer kernel, such as Debian 12's: sudo apt-get install linux-image-amd64"
	}
	return c
}

// try makes a check of a trial.
func try(name, why string, t Trial, fix func(text string) string) Check {
	c := Check{Name: name, Why: why, Status: OK, Found: "works"}
	switch {
	case !t.Tried:
		c.Status, c.Found = Skipped, "could not be tried"
	case t.Error != "":
		c.Status, c.Found, c.Fix = Fail, t.Error, fix(t.Error)
	}
	return c
}

// says is a fix that does not depend on the error.
func says(text string) func(string) string { return func(string) string { return text } }

func (f Facts) namespaces() []Check {
	return []Check{
		try("user-namespaces", "each sandbox lives in one; without, nothing separates its root from the host's", f.Trials.UserNS, f.mendUserNS),
		try("proc", "a sandbox sees its own processes only; a container of another engine that masks parts of /proc prevents that", f.Trials.Proc,
			says("if cpc runs in a container, start that with an unmasked /proc (docker, podman: --security-opt systempaths=unconfined)")),
		try("nested-user-namespaces", "the sandbox's ids are kept apart from the monitor's", f.Trials.Nested, f.mendUserNS),
	}
}

func (f Facts) mendNetwork(string) string {
	if f.Sysctls["user.max_net_namespaces"] == "0" {
		return sysctl("user.max_net_namespaces", "65536")
	}
	return "sudo modprobe veth"
}

// sysctl is how to set one for good.
func sysctl(name, value string) string {
	return fmt.Sprintf("echo %s=%s | sudo tee /etc/sysctl.d/90-cpc.conf && sudo sysctl -p /etc/sysctl.d/90-cpc.conf", name, value)
}

func (f Facts) mendUserNS(text string) string {
	switch {
	case strings.Contains(text, "newuidmap") || strings.Contains(text, "newgidmap"):
		return "see the checks id-helpers and subordinate-ids"
	case f.Sysctls["user.max_user_namespaces"] == "0":
		return sysctl("user.max_user_namespaces", "65536")
	case f.Sysctls["kernel.unprivileged_userns_clone"] == "0" && !f.root():
		return sysctl("kernel.unprivileged_userns_clone", "1")
	case f.Sysctls["kernel.apparmor_restrict_unprivileged_userns"] == "1" && !f.root() && !f.LSM.Programs:
		return "sudo cpc setup   (loads a profile that allows them to cpc alone; for all programs: " +
			sysctl("kernel.apparmor_restrict_unprivileged_userns", "0") + ")"
	case f.LSM.Confined != "":
		return "add the line \"userns,\" to the AppArmor profile " + f.LSM.Confined + ", in which cpc runs here, and load it with: sudo apparmor_parser -r FILE" +
			"   (or let it start cpc in the profile that sudo cpc setup loads: /usr/local/bin/cpc px,)"
	}
	return "if cpc runs in a container, start that with user namespaces allowed (docker, podman: --security-opt seccomp=unconfined --security-opt apparmor=unconfined)"
}

func (f Facts) ids() []Check {
	helpers := Check{Name: "id-helpers", Status: OK, Why: "newuidmap and newgidmap map more than one id for a user; without, the sandbox's processes are the user's own"}
	ranges := Check{Name: "subordinate-ids", Status: OK, Why: "the sandbox's ids are these: an escape finds itself as nobody"}
	if f.root() {
		helpers.Status, helpers.Found = Skipped, "root needs none"
		ranges.Status, ranges.Found = Skipped, "root takes ids that nobody else has"
		return []Check{helpers, ranges}
	}
	for _, h := range f.Helpers {
		switch {
		case h.Path == "":
			helpers.Status, helpers.Fix = Fail, "sudo apt-get install uidmap"
			helpers.Found += h.Name + " is not installed; "
		case !h.Able:
			helpers.Status, helpers.Fix = Fail, "sudo apt-get install --reinstall uidmap   (or: sudo chmod u+s "+h.Path+")"
			helpers.Found += h.Path + " is neither setuid root nor has it the capability; "
		default:
			helpers.Found += h.Path + "; "
		}
	}
	helpers.Found = strings.TrimSuffix(helpers.Found, "; ")
	ranges.Found = fmt.Sprintf("%d in /etc/subuid, %d in /etc/subgid", f.RangeUID, f.RangeGID)
	if f.RangeUID < idmap.Size || f.RangeGID < idmap.Size {
		last := f.FreeRange + idmap.Size - 1
		ranges.Status = Fail
		ranges.Found += fmt.Sprintf("; at least %d in one range are needed", idmap.Size)
		ranges.Fix = fmt.Sprintf("sudo usermod --add-subuids %d-%d --add-subgids %d-%d %s   (or: sudo cpc setup)", f.FreeRange, last, f.FreeRange, last, f.User)
	}
	return []Check{helpers, ranges}
}

func (f Facts) limits() []Check {
	layout := Check{Name: "cgroups", Status: OK, Found: f.cgroupWords(), Why: "limits of memory, CPU and processes are the kernel's cgroups"}
	if f.Cgroups.Layout != cgroups.Unified {
		layout.Status = Warn
		layout.Fix = "boot with systemd.unified_cgroup_hierarchy=1 on the kernel command line"
	}
	checks := []Check{layout}
	for _, l := range []struct{ name, why string }{
		{"memory", "a sandbox without it can use up the host's memory"},
		{"cpu", "a sandbox without it can use all processors"},
		{"pids", "a fork bomb without it takes the host down"},
	} {
		c := Check{Name: "limit-" + l.name, Status: OK, Found: "can be enforced", Why: l.why}
		if i := slices.IndexFunc(f.Missing, func(m cgroups.Missing) bool { return m.Limit == l.name }); i >= 0 {
			c.Status, c.Found, c.Fix = Fail, f.Missing[i].Why, f.Missing[i].Fix
			if strings.Contains(c.Fix, "user@.service.d") {
				c.Fix += "\nor: sudo cpc setup"
			}
		}
		checks = append(checks, c)
	}
	if f.Cgroups.Layout != cgroups.Unified {
		return checks
	}
	for _, l := range []struct{ name, why string }{
		{"io", "limits of disk speed need it"},
		{"cpuset", "binding a sandbox to certain processors needs it"},
	} {
		c := Check{Name: "limit-" + l.name, Status: OK, Found: "can be enforced", Why: l.why}
		if !slices.Contains(f.Controllers, l.name) {
			c.Status, c.Found, c.Fix = Warn, "the "+l.name+" controller does not reach this user", "sudo cpc setup"
			if f.root() {
				c.Found, c.Fix = "the kernel has no "+l.name+" controller on cgroup v2", "boot with cgroup_no_v1=all on the kernel command line"
			}
		}
		checks = append(checks, c)
	}
	return checks
}

func (f Facts) cgroupWords() string {
	h := f.Cgroups
	switch {
	case h.Unit:
		return string(h.Layout) + ", in a delegated unit of systemd's, " + h.Base
	case h.Driver == cgroups.DriverSystemd:
		return string(h.Layout) + ", by systemd, in " + h.Base
	case h.Driver == cgroups.DriverFS && h.Base != "":
		return string(h.Layout) + ", in the directory " + h.Base
	}
	return string(h.Layout)
}

func (f Facts) session() []Check {
	bus := Check{Name: "systemd-session", Status: OK, Found: "the user's systemd answers at " + f.Cgroups.Bus, Why: "a user's systemd gives each sandbox its cgroup"}
	linger := Check{Name: "linger", Status: OK, Found: "on", Why: "without, a user's sandboxes end with the last session"}
	switch {
	case f.root() || f.Cgroups.Unit:
		bus.Status, bus.Found = Skipped, "not needed here"
		linger.Status, linger.Found = Skipped, "not needed here"
		return []Check{bus, linger}
	case !f.Cgroups.Systemd:
		bus.Status, bus.Found = Skipped, "systemd does not run here"
		linger.Status, linger.Found = Skipped, "systemd does not run here"
		return []Check{bus, linger}
	case f.Cgroups.Bus == "":
		bus.Status, bus.Found = Warn, "no user bus"
		if f.Cgroups.Layout == cgroups.Unified && f.Cgroups.Driver == cgroups.DriverNone {
			bus.Status = Fail
		}
		bus.Fix = "sudo apt-get install dbus-user-session, then log in again; after su or sudo -u: export XDG_RUNTIME_DIR=" + fmt.Sprintf("/run/user/%d", f.UID)
		if !f.RuntimeDir {
			bus.Found = "no login session (su and sudo make none)"
			bus.Fix = "log in by ssh or at a console; or: sudo loginctl enable-linger " + f.User + " && export XDG_RUNTIME_DIR=" + fmt.Sprintf("/run/user/%d", f.UID)
		}
	}
	if !f.Linger {
		linger.Status, linger.Found, linger.Fix = Warn, "off", "sudo loginctl enable-linger "+f.User+"   (or: sudo cpc setup --linger)"
	}
	return []Check{bus, linger}
}

func (f Facts) modules() []Check {
	a := Check{Name: "apparmor", Status: OK, Found: "enabled, and cpc's profiles are loaded", Why: "a second wall around each sandbox; where unprivileged user namespaces are restricted, cpc needs its profile to make them"}
	switch {
	case !f.LSM.AppArmor:
		a.Status, a.Found = Skipped, "not enabled in this kernel"
	case !f.LSM.Readable:
		a.Found = "enabled; only root can see whether cpc's profiles are loaded"
	case !f.LSM.Sandbox || !f.LSM.Programs:
		a.Status, a.Found, a.Fix = Warn, "enabled, but cpc's profiles (cpc, cpc-sandbox) are not loaded", "sudo cpc setup"
	}
	s := Check{Name: "selinux", Status: OK, Found: f.LSM.SELinux, Why: "labels are passed on to sandboxes where it is on"}
	if f.LSM.SELinux == "" {
		s.Status, s.Found = Skipped, "not enabled in this kernel"
	}
	return []Check{a, s}
}

func (f Facts) trials() []Check {
	overlay := try("overlay", "a sandbox's root is its image's layers under a writable one", f.Trials.Overlay,
		says("sudo modprobe overlay; if the data directory "+f.Data.Path+" is on NFS or an overlay itself, set CPC_DATA_DIR to one on ext4, xfs or btrfs"))
	idmapped := try("idmapped-mounts", "root's sandboxes share layers, each with ids of its own", f.Trials.IDMapped,
		says("Linux 5.19 or newer, with the data directory "+f.Data.Path+" on ext4, xfs, btrfs or tmpfs (CPC_DATA_DIR)"))
	fuse := try("fuse", "a user's disk of fixed size is a file system in a file", f.Trials.Fuse,
		says("sudo modprobe fuse && sudo chmod 0666 /dev/fuse   (Debian: sudo apt-get install fuse3)"))
	if fuse.Status == Fail { // there is a smaller disk without
		fuse.Status = Warn
	}
	if f.root() {
		fuse = Check{Name: fuse.Name, Status: Skipped, Found: "root uses loop devices", Why: fuse.Why}
	} else {
		idmapped = Check{Name: idmapped.Name, Status: Skipped, Found: "only root needs them", Why: idmapped.Why}
	}
	return []Check{
		overlay, idmapped, fuse,
		try("veth", "the sandbox's network is a pair of virtual links", f.Trials.Veth, f.mendNetwork),
		try("nftables", "what leaves a sandbox is filtered in a network namespace of its own", f.Trials.NFTables, says("sudo modprobe nf_tables && sudo modprobe nft_redir")),
		try("seccomp", "system calls that a sandbox has no use for are refused", f.Trials.Seccomp, says("a kernel with CONFIG_SECCOMP_FILTER, such as Debian's: sudo apt-get install linux-image-amd64")),
	}
}

// Below these, images do not fit and sandboxes do not start.
const (
	leastData  = 512 * units.MiB
	wantedData = 10 * units.GiB // the disk of one sandbox
	leastState = 8 * units.MiB
	leastNodes = 10_000
)

func (f Facts) programs() []Check {
	runtime := Check{Name: "cpc-runtime", Status: OK, Found: f.Runtime.Path + " (" + f.Runtime.Says + ")", Why: "cpc starts it for each sandbox"}
	if f.Runtime.Error != "" {
		runtime.Status, runtime.Found, runtime.Fix = Fail, f.Runtime.Error, "install it beside cpc (sudo make install), or name it with --runtime PATH"
	}
	disk := Check{Name: "fuse2fs", Status: OK, Found: f.DiskTool.Path, Why: "a user's disk of fixed size is mounted with it"}
	switch {
	case f.root():
		disk.Status, disk.Found = Skipped, "root uses loop devices"
	case f.DiskTool.Error != "":
		disk.Status, disk.Found, disk.Fix = Warn, f.DiskTool.Error, "sudo apt-get install fuse2fs"
	}
	return []Check{
		runtime, disk,
		space("data-space", "images and disks of sandboxes are kept there", "CPC_DATA_DIR", f.Data, [2]uint64{leastData, wantedData}),
		space("state-space", "records and sockets of running sandboxes are kept there", "CPC_STATE_DIR", f.State, [2]uint64{leastState, leastState}),
	}
}

// space checks a directory; sizes are below which it fails, and warns.
func space(name, why, variable string, s Space, sizes [2]uint64) Check {
	c := Check{Name: name, Status: OK, Why: why}
	mend := "free some space there (cpc rmi, and other programs' files), or set " + variable + " to a directory on another file system"
	if s.Error != "" {
		c.Status, c.Found, c.Fix = Fail, s.Error, "set "+variable+" to a directory that you may write"
		return c
	}
	c.Found = units.BytesSize(float64(s.Free)) + " free in " + s.Path
	switch {
	case s.Free < sizes[0]:
		c.Status, c.Fix = Fail, mend
	case !s.NoInodes && s.Inodes < leastNodes:
		c.Status, c.Fix = Warn, mend
		c.Found += fmt.Sprintf(", but only %d more files", s.Inodes)
	case s.Free < sizes[1]:
		c.Status, c.Fix = Warn, mend
	}
	return c
}
