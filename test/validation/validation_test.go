// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package validation_test

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// deviations are the programs that do not pass, and why; docs/oci.md has them too. A reason that begins
// with "here:" is this machine's, or a race of the program's: it may pass.
func deviations() map[string]string {
	const (
		kernelMemory = "kernel memory: Linux no longer limits it"
		devices      = "reads back the first of the rules that are always there"
		missing      = "here: a controller or a file of it that the kernel lacks"
	)
	return map[string]string{
		"delete":                         "wants an error for a created container, which every runtime deletes",
		"hooks":                          "error of the program: looks for other words than its hooks write",
		"hooks_stdin":                    "wants prestart's status created (1.3: creating), and the pid of a container that has ended",
		"killsig":                        "here: may send the signal before the program has set its trap",
		"linux_cgroups_blkio":            missing,
		"linux_cgroups_devices":          devices,
		"linux_cgroups_hugetlb":          missing,
		"linux_cgroups_memory":           kernelMemory,
		"linux_cgroups_network":          missing,
		"linux_cgroups_relative_blkio":   missing,
		"linux_cgroups_relative_devices": devices,
		"linux_cgroups_relative_hugetlb": missing,
		"linux_cgroups_relative_memory":  kernelMemory,
		"linux_cgroups_relative_network": missing,
		"linux_devices":                  "a fifo with device numbers, refused",
		"linux_mount_label":              "here: no SELinux",
		"linux_process_apparmor_profile": "here: no AppArmor",
		"linux_rootfs_propagation":       "here: wants every capability, and root has not all",
		"linux_seccomp":                  "forbids getcwd, by which init makes sure that it is inside the root (CVE-2024-21626)",
		"misc_props":                     "error of the program: no command in the root",
		"mounts":                         "a bind mount with options of tmpfs, refused",
		"pidfile":                        "here: may kill a container that has ended",
		"poststart":                      "here: the hook may come before the first output of the program",
		"poststart_fail":                 "wants a warning for a failed hook (1.3: an error, and the container stopped)",
		"prestart":                       "wants prestart hooks in start (1.3: in create)",
		"process_capabilities":           "here: wants every capability, and root has not all",
		"process_capabilities_fail":      "wants an error for an unknown capability (1.3: a warning)",
		"process_rlimits":                "limits address space to 1 GiB, and libseccomp then lacks memory",
		"start":                          "wants a bundle without process to be created",
	}
}

// Every program passes but those named above; docs/oci.md explains them.
func TestValidation(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("the programs need root")
	}
	s := newSuite(t)
	entries, err := os.ReadDir(s.programs)
	if err != nil {
		t.Fatal(err)
	}
	var passed, failed atomic.Int64
	for _, e := range entries {
		if e.Name() == "runtimetest" {
			continue
		}
		t.Run(e.Name(), func(t *testing.T) {
			if !sharesCgroup(e.Name()) {
				t.Parallel()
			}
			ok, bad := s.validate(t, e.Name())
			passed.Add(int64(ok))
			failed.Add(int64(len(bad)))
			why, known := deviations()[e.Name()]
			switch {
			case known:
				t.Logf("%s: %s", why, strings.Join(bad, "; "))
				if len(bad) == 0 && !strings.HasPrefix(why, "here:") {
					t.Errorf("passes now, but is listed: %s", why)
				}
			case len(bad) > 0:
				t.Errorf("%d checks passed; not: %s", ok, strings.Join(bad, "\n"))
			}
		})
	}
	t.Cleanup(func() { t.Logf("%d checks passed, %d did not", passed.Load(), failed.Load()) })
}

// sharesCgroup reports whether a program uses /cgrouptest, as all do that need a cgroup.
func sharesCgroup(program string) bool {
	return strings.HasPrefix(program, "linux_cgroups_") || program == "delete_resources" || program == "delete_only_create_resources"
}

// validate runs one program and returns how many checks have passed, and which
// have not; a program that ends early or badly is one of those.
func (s suite) validate(t *testing.T, name string) (passed int, bad []string) {
	t.Helper()
	cmd := s.command(t, name)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.WaitDelay = time.Second // for a container that keeps the output open
	err := cmd.Run()
	for line := range strings.Lines(stdout.String()) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "ok "):
			passed++
		case strings.HasPrefix(line, "not ok "):
			bad = append(bad, line)
		case strings.HasPrefix(line, `"error": "`) && passed == 0 && len(bad) == 0: // of a program that counts nothing
			bad = append(bad, line)
		}
	}
	if err != nil {
		bad = append(bad, err.Error()+": "+strings.TrimSpace(stderr.String()))
	}
	return passed, bad
}

func goTool(t *testing.T, dir, env string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go %v: %v: %s", args, err, stderr.String())
	}
	return strings.TrimSpace(string(out))
}
