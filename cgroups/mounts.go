// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package cgroups

import (
	"path/filepath"
	"slices"
	"strings"
)

// mount is one mounted cgroup hierarchy.
type mount struct {
	point string   // where
	root  string   // which directory of the hierarchy is seen there
	v2    bool     // cgroup2
	names []string // v1: controllers, or name=…
}

// parseMounts picks the cgroup mounts out of mountinfo (proc_pid_mountinfo(5)).
// Of mounts stacked on one point only the last, the visible one, is kept.
func parseMounts(mountinfo string) []mount {
	var out []mount
	for line := range strings.Lines(mountinfo) {
		before, after, ok := strings.Cut(strings.TrimSpace(line), " - ")
		f, g := strings.Fields(before), strings.Fields(after)
		if !ok || len(f) < 6 || len(g) < 3 {
			continue
		}
		m := mount{point: unescape(f[4]), root: unescape(f[3])}
		out = slices.DeleteFunc(out, func(o mount) bool {
			return o.point == m.point || strings.HasPrefix(o.point, m.point+"/")
		})
		switch g[0] {
		case "cgroup2":
			m.v2 = true
		case "cgroup":
			m.names = v1Names(g[2])
		default:
			continue
		}
		out = append(out, m)
	}
	return out
}

// v1Names returns the controllers among a v1 superblock's options.
func v1Names(options string) []string {
	var out []string
	for o := range strings.SplitSeq(options, ",") {
		switch o {
		case "rw", "ro", "noprefix", "clone_children", "xattr", "cpuset_v2_mode", "favordynmods":
		default:
			if !strings.HasPrefix(o, "release_agent=") {
				out = append(out, o)
			}
		}
	}
	return out
}

// unescape undoes mountinfo's octal escapes of space, tab, newline, backslash.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

func layoutOf(mounts []mount) Layout {
	v1, v2 := false, false
	for _, m := range mounts {
		if m.v2 && m.point == unifiedMount {
			return Unified
		}
		v1, v2 = v1 || !m.v2, v2 || m.v2
	}
	switch {
	case v1 && v2:
		return Hybrid
	case v1:
		return Legacy
	}
	return None
}

func findV1(mounts []mount, controller string) (mount, bool) {
	for _, m := range mounts {
		if slices.Contains(m.names, controller) {
			return m, true
		}
	}
	return mount{}, false
}

func findV2(mounts []mount) (mount, bool) {
	for _, m := range mounts {
		if m.v2 {
			return m, true
		}
	}
	return mount{}, false
}

// parseProcCgroup parses /proc/PID/cgroup: controller (or name=…, or "" for
// cgroup2) to path.
func parseProcCgroup(data string) map[string]string {
	out := map[string]string{}
	for line := range strings.Lines(data) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(f) != 3 || !filepath.IsAbs(f[2]) {
			continue
		}
		path := strings.TrimSuffix(f[2], " (deleted)")
		for name := range strings.SplitSeq(f[1], ",") {
			out[name] = path
		}
	}
	return out
}

// dir returns the directory under which path of the hierarchy is seen, if it is.
func (m mount) dir(path string) (string, bool) {
	rel, err := filepath.Rel(m.root, path)
	if err != nil || rel == ".." || strings.HasPrefix(rel, "../") {
		return "", false
	}
	return filepath.Join(m.point, rel), true
}
