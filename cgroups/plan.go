// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package cgroups

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Prefix starts the name of every sandbox's cgroup, cpc-ID or cpc-ID.scope. There
// is no directory for all of them: to make one and to remove it when it is
// empty would be a race between sandboxes that start and end.
const Prefix = "cpc"

// cpuPeriod is the bandwidth period in microseconds, the kernel's default.
const cpuPeriod = 100000

// Missing is a limit that was asked for and cannot be enforced here.
type Missing struct {
	Limit string `json:"limit"` // memory, cpu, pids, or a flag's name
	Why   string `json:"why"`
	Fix   string `json:"fix"` // what to type or to do, the same for several limits of one cause
}

// Plan is the cgroup of one sandbox. It can be kept as JSON, to remove the
// cgroup later from another process.
type Plan struct {
	// Path is the bundle's cgroupsPath; "" when no cgroup can be made.
	Path string `json:"path"`
	// Scope is the systemd scope that the cgroup lies in, and Slice the slice
	// that the scope does; "" where systemd is not asked.
	Scope string `json:"scope,omitempty"`
	Slice string `json:"slice,omitempty"`
	// Aside is where the process that starts the sandbox has to move itself
	// first (StepAside); "" where it can stay.
	Aside string `json:"aside,omitempty"`
	// Layout is the host's; Unified means that the bundle may mount cgroup2.
	Layout Layout `json:"layout"`
	// Bus is Host.Bus.
	Bus string `json:"bus,omitempty"`
	// Controllers are Host.Controllers, SwapLimit is Host.SwapLimit.
	Controllers []string `json:"controllers,omitempty"`
	SwapLimit   bool     `json:"swapLimit,omitempty"`
	// Limits are those that will be enforced, and that Check looks for.
	Limits Limits `json:"limits"`
	// Resources is for the bundle; nil when nothing can be enforced.
	Resources *specs.LinuxResources `json:"resources,omitempty"`
	// Missing are the limits that will not be enforced.
	Missing []Missing `json:"missing,omitempty"`
	// Notes are weaker guarantees that a user should know of.
	Notes []string `json:"notes,omitempty"`
	// Dirs are the directories that the sandbox's cgroup will be, absolute.
	Dirs []string `json:"dirs,omitempty"`
}

// Plan says how limits l are put on sandbox id. The caller decides what to do
// when something is missing. An id of other characters than letters, digits,
// '_', '.' and '-' is an error, and so are limits that are not valid.
func (h Host) Plan(id string, l Limits) (Plan, error) {
	if !validID(id) {
		return Plan{}, fmt.Errorf("plan cgroup %q: not a valid id", id)
	}
	p := Plan{Layout: h.Layout, Bus: h.Bus, SwapLimit: h.SwapLimit}
	h.place(&p, id)
	if h.Driver != DriverNone {
		p.Controllers = h.Controllers
	}
	var err error
	if p.Limits, p.Missing, err = h.Enforceable(l); err != nil {
		return Plan{}, err
	}
	if h.Driver != DriverNone {
		p.Resources = p.resources(p.Limits, Limits{})
		if h.Privileged {
			// cpc-runtime adds the usual harmless devices to this; a user
			// cannot load device filters, and can make no device either.
			p.Resources.Devices = []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}}
		}
	}
	if p.Limits.Memory > 0 && !h.SwapLimit {
		p.Notes = append(p.Notes, "this kernel does not account swap per cgroup: what is swapped out does not count as memory (mend: swapaccount=1 on the kernel command line)")
	}
	return p, nil
}

// Enforceable splits limits into those that this host can enforce for this
// caller and those that it cannot. Limits that are not valid are an error.
func (h Host) Enforceable(l Limits) (Limits, []Missing, error) {
	if err := l.Validate(); err != nil {
		return Limits{}, nil, err
	}
	for _, c := range []struct{ flag, want, have, what string }{
		{"cpuset-cpus", l.CPUs, h.CPUs, "processors"}, {"cpuset-mems", l.Mems, h.Mems, "memory nodes"},
	} {
		if !within(c.want, c.have) {
			return Limits{}, nil, fmt.Errorf("%s %s: of the %s there are %s", c.flag, c.want, c.what, c.have)
		}
	}
	l.Rates = slices.Clone(l.Rates)
	var missing []Missing
	for _, part := range l.parts() {
		if !part.set {
			continue
		}
		why, fix := "", ""
		if h.Driver == DriverNone || !slices.Contains(h.Controllers, part.controller) {
			why, fix = h.explain(part.controller)
		} else {
			why, fix = h.lacks(part.name)
		}
		if why != "" {
			part.drop()
			missing = append(missing, Missing{Limit: part.name, Why: why, Fix: fix})
		}
	}
	return l, missing, nil
}

// within reports whether all of a list is in another, which may be unknown.
func within(want, have string) bool {
	if want == "" || have == "" {
		return true
	}
	w, err := parseList(want)
	h, errHave := parseList(have)
	if err != nil || errHave != nil {
		return err == nil
	}
	for n := range w {
		if !h[n] {
			return false
		}
	}
	return true
}

// lacks says what keeps a limit from being enforced whose controller is there;
// why is "" if nothing does.
func (h Host) lacks(limit string) (why, fix string) {
	switch {
	case limit == "memory-high" && h.Layout != Unified:
		return "cgroup v1 has no such limit", "boot with systemd.unified_cgroup_hierarchy=1 on the kernel command line"
	case limit == "memory-swap" && !h.SwapLimit:
		return "this kernel does not account swap per cgroup", "boot with swapaccount=1 on the kernel command line"
	case limit == "blkio-weight" && h.Layout != Unified && !h.IOWeight:
		return "no I/O scheduler of this kernel knows weights", "sudo modprobe bfq, and choose bfq for the disk"
	}
	return "", ""
}

func validID(id string) bool {
	if id == "" || len(id) > 200 || id == "." || id == ".." {
		return false
	}
	return !strings.ContainsFunc(id, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '_' && r != '.' && r != '-'
	})
}

// place fills in where the cgroup will be.
func (h Host) place(p *Plan, id string) {
	name := Prefix + "-" + id
	switch {
	case h.Driver == DriverNone:
	case h.Driver == DriverSystemd:
		p.Scope, p.Slice = name+".scope", filepath.Base(h.Base)
		p.Dirs = []string{filepath.Join(h.Base, p.Scope, name)}
		p.Path = strings.TrimPrefix(p.Dirs[0], unifiedMount)
	case h.Layout == Unified:
		if h.Aside {
			p.Aside = filepath.Join(h.Base, supervisorDir)
		}
		p.Dirs = []string{filepath.Join(h.Base, name)}
		p.Path = filepath.Join("/", strings.TrimPrefix(h.Base, unifiedMount), name)
	default:
		p.Path = filepath.Join("/", name)
		for _, m := range h.mounts {
			p.Dirs = append(p.Dirs, filepath.Join(m.point, name))
		}
	}
}

const delegateFix = `sudo mkdir -p /etc/systemd/system/user@.service.d && ` +
	`printf '[Service]\nDelegate=cpu cpuset io memory pids\n' | sudo tee /etc/systemd/system/user@.service.d/delegate.conf && ` +
	`sudo systemctl daemon-reload && sudo systemctl restart user@%d.service   (ends the user's sessions; or log out of all and in again)`

// explain says why a controller cannot be used here, and what mends it.
func (h Host) explain(controller string) (why, fix string) {
	switch {
	case h.Layout == None:
		return "no cgroup filesystem is mounted", "sudo mount -t cgroup2 cgroup2 " + unifiedMount
	case h.Layout != Unified && !h.Privileged:
		return fmt.Sprintf("this host has %s cgroups, whose %s controller cannot be delegated to a user", h.Layout, controller),
			"boot with systemd.unified_cgroup_hierarchy=1 on the kernel command line; or run as root"
	case h.Layout != Unified:
		return "the kernel offers no writable " + controller + " hierarchy (v1)",
			"boot with systemd.unified_cgroup_hierarchy=1 on the kernel command line"
	case h.Privileged && h.Driver == DriverNone:
		return unifiedMount + " is not writable", "sudo mount -o remount,rw " + unifiedMount
	case h.Privileged:
		return "the " + controller + " controller is not available in " + h.Base,
			"boot with cgroup_enable=memory cgroup_no_v1=all on the kernel command line, and a kernel that has the " + controller + " controller"
	case h.Driver == DriverSystemd:
		return fmt.Sprintf("systemd does not delegate the %s controller to user %d", controller, h.UID),
			fmt.Sprintf(delegateFix, h.UID)
	case h.Unit && h.Busy:
		return "the " + controller + " controller is off in the unit's cgroup " + h.Base + ", which holds other processes than cpc",
			"have the unit start cpc itself (ExecStart=), or keep the others in a cgroup of their own with DelegateSubgroup=" + supervisorDir + " (systemd 254)"
	case h.Unit:
		return "systemd does not delegate the " + controller + " controller to the unit of " + h.Base,
			"set Delegate=yes in the unit; in a user's unit, the user must have the controller too: see cpc doctor"
	case h.Driver == DriverFS && h.Busy:
		return "the " + controller + " controller is off in " + h.Base + ", which holds processes and so cannot turn it on",
			fmt.Sprintf("mkdir %[1]s/rest && for p in $(cat %[1]s/cgroup.procs); do echo $p >%[1]s/rest/cgroup.procs; done", h.Base)
	case h.Driver == DriverFS:
		return "the " + controller + " controller is not delegated to " + h.Base,
			"echo +" + controller + " | sudo tee " + filepath.Join(filepath.Dir(h.Base), "cgroup.subtree_control")
	case h.Systemd:
		return fmt.Sprintf("the systemd of user %d cannot be reached (no user bus)", h.UID),
			"sudo apt-get install dbus-user-session, then log in again (su and sudo make no session; `sudo loginctl enable-linger " + fmt.Sprint(h.UID) + "` and XDG_RUNTIME_DIR=/run/user/" + fmt.Sprint(h.UID) + " do without)"
	}
	return "no cgroup directory is delegated to this user",
		"have root make one, chown it and its cgroup.procs and cgroup.subtree_control to you, and start cpc in it; or run as root"
}
