// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package runtime_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// A process with a terminal ends when its command does, whoever else has the
// terminal open (for a minute here), and nothing that the command wrote is lost.
func TestTerminalEndsWithCommand(t *testing.T) {
	inBothWays(t, func(b *bench) {
		b.sleeper("c1")
		b.endsWithCommand("exec", "-t", "c1", "probe", "leave")
		if b.name != "root" { // who may not mount procfs without a pid namespace
			return
		}
		spec := b.spec("probe", "leave")
		spec.Process.Terminal = true
		spec.Linux.UIDMappings, spec.Linux.GIDMappings = nil, nil
		spec.Linux.Namespaces = slices.DeleteFunc(spec.Linux.Namespaces, func(n specs.LinuxNamespace) bool {
			return n.Type == specs.PIDNamespace || n.Type == specs.UserNamespace // the first would end the other process
		})
		b.write(spec)
		b.endsWithCommand("run", "c2")
	})
}

func (b *bench) endsWithCommand(args ...string) {
	t := b.t
	t.Helper()
	master, slave, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = master.Close(), slave.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, b.runtime, append([]string{"--root", b.states}, args...)...)
	cmd.Dir = b.dir
	cmd.ExtraFiles = []*os.File{slave}
	cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true, Setctty: true, Ctty: 3}
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	_ = cmd.Run() // the status is looked at
	if code := cmd.ProcessState.ExitCode(); code != 3 {
		t.Errorf("%v: exit %d (-1: did not end); %s", args, code, stderr.String())
	}
	if lines := strings.Count(out.String(), "\n"); lines != 3000 || !strings.HasSuffix(out.String(), "line 2999\n") {
		t.Errorf("%v: %d lines, want 3000", args, lines)
	}
}
