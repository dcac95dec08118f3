// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Package vm tests the bed of the VM, without a VM.
package vm

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/testkit"
)

// TestEndsWithMake: when make is killed, what the bed has started ends, and its
// directory goes. SIGKILL tells nobody below make.
func TestEndsWithMake(t *testing.T) {
	bed, err := filepath.Abs("vm.sh")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	script := filepath.Join(dir, "run.sh")
	// As test.sh does it: the sleep stands for QEMU.
	text := fmt.Sprintf("set -eu\n. %q\nvm_begin\nsleep 1000 &\necho $$ $! \"$vm_dir\"\nvm_do sleep 1000\n", bed)
	if err := os.WriteFile(script, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	makefile := filepath.Join(dir, "Makefile")
	if err := os.WriteFile(makefile, []byte("all:\n\t@bash "+script+" && true\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("make", "-f", makefile)
	cmd.Env = append(os.Environ(), "TMPDIR="+dir, "MAKEFLAGS=", "MAKELEVEL=")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	var shell, sleep int
	var vmDir string
	if _, err := fmt.Sscan(line, &shell, &sleep, &vmDir); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
	var left []string
	none := func() bool {
		left = nil
		for _, pid := range []int{shell, sleep} {
			if unix.Kill(pid, 0) == nil {
				left = append(left, fmt.Sprint("process ", pid))
			}
		}
		if _, err := os.Stat(vmDir); err == nil {
			left = append(left, vmDir)
		}
		return left == nil
	}
	if !testkit.Within(testkit.Patience, none) {
		t.Errorf("still there: %s", strings.Join(left, ", "))
	}
}
