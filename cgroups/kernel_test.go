// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package cgroups

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"syscall"
	"testing"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
	godbus "github.com/godbus/dbus/v5"
	oci "github.com/opencontainers/cgroups"
	"github.com/opencontainers/cgroups/manager"
	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/testkit"
)

const childVariable = "CPC_CGROUPS_TEST_CHILD"

// TestMain lets the test binary be the process that violates its limits.
func TestMain(m *testing.M) {
	role := os.Getenv(childVariable)
	if role == "" {
		m.Run()
		return
	}
	_, _ = io.ReadFull(os.Stdin, make([]byte, 1)) // until it is in its cgroup
	switch role {
	case "memory":
		var hold [][]byte
		for range 512 {
			b := make([]byte, 1<<20)
			for i := range b {
				b[i] = 1
			}
			hold = append(hold, b)
		}
		goruntime.KeepAlive(hold)
	case "pids":
		for range 64 {
			if err := exec.Command("sleep", "5").Start(); err != nil {
				break
			}
		}
	}
	_, _ = io.ReadAll(os.Stdin)
}

// sandbox makes a cgroup as cpc-runtime would and puts a process into it, which
// starts its role when a byte is written to what is returned.
func sandbox(t *testing.T, role string, l Limits) (Plan, *exec.Cmd, io.WriteCloser) {
	t.Helper()
	h, err := Probe()
	if err != nil {
		t.Fatal(err)
	}
	p, err := h.Plan(fmt.Sprintf("test%d-%s", os.Getpid(), role), l)
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Missing) > 0 {
		t.Skipf("limit not available to this user: %+v", p.Missing)
	}
	// A scope goes with its last process, and what the kernel has counted in there
	// goes with it: so that there is one, as the monitor is.
	monitor, _ := child(t, "monitor")
	cmd, in := child(t, role)
	first := monitor.Process.Pid
	t.Cleanup(func() {
		for _, c := range []*exec.Cmd{cmd, monitor} {
			_ = c.Process.Kill()
			_ = c.Wait()
		}
		if err := p.Remove(); err != nil {
			t.Error(err)
		}
	})
	if err := errors.Join(p.OpenScope(t.Context(), first), p.settle(first)); err != nil {
		t.Fatal(err)
	}
	attach(t, p, cmd.Process.Pid)
	apply(t, h, p, cmd.Process.Pid)
	return p, cmd, in
}

// attach has systemd move a process into the plan's scope, beside the monitor: an
// ordinary user may not do that itself, from the session that the test runs in.
func attach(t *testing.T, p Plan, pid int) {
	t.Helper()
	if p.Scope == "" {
		return
	}
	conn, err := dbus.NewConnection(func() (*godbus.Conn, error) { return p.dial(t.Context()) })
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.AttachProcessesToUnit(t.Context(), p.Scope, "/"+monitorDir, []uint32{uint32(pid)}); err != nil { //nolint:gosec // a pid is positive
		t.Fatal(err)
	}
}

// child starts this program in a role.
func child(t *testing.T, role string) (*exec.Cmd, io.WriteCloser) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", "-test.run=^$")
	cmd.Env = append(os.Environ(), childVariable+"="+role, "GOMAXPROCS=1")
	cmd.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, in
}

func apply(t *testing.T, h Host, p Plan, pid int) {
	t.Helper()
	c := &oci.Cgroup{Path: p.Path, Rootless: !h.Privileged, Resources: &oci.Resources{SkipDevices: true}}
	if m := p.Resources.Memory; m != nil {
		c.Memory = *m.Limit
		if m.Swap != nil {
			c.MemorySwap = *m.Swap
		}
	}
	if q := p.Resources.CPU; q != nil {
		c.CpuQuota, c.CpuPeriod = *q.Quota, *q.Period
	}
	if n := p.Resources.Pids; n != nil {
		c.PidsLimit = n.Limit
	}
	c.Unified = p.Resources.Unified
	m, err := manager.New(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Apply(pid); err != nil {
		t.Fatal(err)
	}
	if err := m.Set(c.Resources); err != nil {
		t.Fatal(err)
	}
}

func TestCheckAndUsage(t *testing.T) {
	p, cmd, _ := sandbox(t, "check", Limits{Memory: 64<<20 + 1, MilliCPU: 500, Pids: 20})
	if err := p.Check(cmd.Process.Pid); err != nil {
		t.Fatal(err)
	}
	u, err := p.Usage(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if u.Pids == 0 || u.Pids > 20 {
		t.Errorf("usage %+v: want 1 to 20 pids", u)
	}
	for _, wrong := range []Limits{{Memory: 32 << 20}, {MilliCPU: 400}, {Pids: 19}} {
		q := p
		q.Limits = wrong
		if err := q.Check(cmd.Process.Pid); err == nil {
			t.Errorf("check accepts %+v", wrong)
		}
	}
	if err := p.Check(os.Getpid()); !errors.Is(err, ErrNoCgroup) {
		t.Errorf("check of a process outside: %v", err)
	}
	if _, err := p.Usage(os.Getpid()); !errors.Is(err, ErrNoCgroup) {
		t.Errorf("usage of a process outside: %v", err)
	}
}

// nextEvent waits for the first event of a kind, then for the channel's end.
func nextEvent(t *testing.T, events <-chan Event, cancel func(), kind Kind) Event {
	t.Helper()
	var got Event
	for late := time.After(20 * time.Second); got.Kind != kind; {
		select {
		case got = <-events:
			continue
		case <-late:
		}
		t.Errorf("no event %s within 20 s", kind)
		break
	}
	cancel()
	timeout := time.After(10 * time.Second)
	for {
		select {
		case e, ok := <-events:
			if !ok {
				return got
			}
			if e.Kind == kind {
				got.Count = e.Count
			}
		case <-timeout:
			t.Fatal("the channel is not closed after the context's end")
		}
	}
}

func TestWatchOOM(t *testing.T) {
	p, cmd, in := sandbox(t, "memory", Limits{Memory: 48 << 20})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	events, err := p.Watch(ctx, cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := in.Write([]byte{1}); err != nil {
		t.Fatal(err)
	}
	e := nextEvent(t, events, cancel, OOMKill)
	if e.Count == 0 || e.Limit != 48<<20 {
		t.Errorf("event %+v", e)
	}
	// Who may not read the kernel's log is told who had most memory at the last
	// look, if there was one.
	if e.Victim == nil && os.Geteuid() == 0 || e.Victim != nil && e.Victim.Name == "" {
		t.Errorf("victim %+v", e.Victim)
	}
	_ = cmd.Wait() // its status says the rest
	if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || ws.Signal() != unix.SIGKILL {
		t.Errorf("the hog ended with %v", cmd.ProcessState)
	}
}

func TestWatchPids(t *testing.T) {
	p, cmd, in := sandbox(t, "pids", Limits{Pids: 24})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	events, err := p.Watch(ctx, cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := in.Write([]byte{1}); err != nil {
		t.Fatal(err)
	}
	e := nextEvent(t, events, cancel, PidsMax)
	if e.Count == 0 || e.Limit != 24 {
		t.Errorf("event %+v", e)
	}
	if got := p.Hits(cmd.Process.Pid); got.PidsMax < e.Count || got.OOMKills != 0 {
		t.Errorf("hits %+v, after the event of %d", got, e.Count)
	}
}

func TestWatchLeaksNothing(t *testing.T) {
	p, cmd, _ := sandbox(t, "leak", Limits{Memory: 48 << 20, Pids: 30})
	before := testkit.Descriptors(t)
	for range 20 {
		ctx, cancel := context.WithCancel(t.Context())
		events, err := p.Watch(ctx, cmd.Process.Pid)
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		for e := range events {
			t.Errorf("event %+v", e)
		}
	}
	if after := testkit.Descriptors(t); after > before {
		t.Errorf("%d open files before, %d after", before, after)
	}
}

func TestRemoveKills(t *testing.T) {
	p, cmd, _ := sandbox(t, "remove", Limits{Pids: 30})
	for _, dir := range p.Dirs {
		if _, err := os.Stat(dir); err == nil {
			if err := os.Mkdir(filepath.Join(dir, "below"), 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	gone := make(chan struct{})
	go func() {
		_ = cmd.Wait() // it was killed
		close(gone)
	}()
	if err := p.Remove(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-gone:
	case <-time.After(5 * time.Second):
		t.Error("the process survives its cgroup")
	}
	for _, dir := range p.Dirs {
		if _, err := os.Lstat(dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left: %v", dir, err)
		}
	}
	if err := p.Remove(); err != nil {
		t.Errorf("second remove: %v", err)
	}
}

// TestRemoveKillsV2 needs a cgroup2 but no controller, so it also runs on hybrid
// hosts.
func TestRemoveKillsV2(t *testing.T) {
	info, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	m, ok := findV2(parseMounts(string(info)))
	if !ok || os.Geteuid() != 0 {
		t.Skip("no cgroup2 that this user may write at its root")
	}
	id := fmt.Sprintf("test%d-v2", os.Getpid())
	p := Plan{Path: "/cpc-" + id, Layout: Unified, Dirs: []string{filepath.Join(m.point, "cpc-"+id)}}
	leaf := filepath.Join(p.Dirs[0], "below")
	if err := os.MkdirAll(leaf, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Remove(); err != nil {
			t.Error(err)
		}
	})
	cmd := exec.Command("sleep", "60")
	cmd.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	gone := make(chan struct{})
	go func() {
		_ = cmd.Wait() // it was killed
		close(gone)
	}()
	if err := os.WriteFile(filepath.Join(leaf, "cgroup.procs"), fmt.Append(nil, cmd.Process.Pid), 0); err != nil {
		t.Fatal(err)
	}
	if err := p.Remove(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-gone:
	case <-time.After(5 * time.Second):
		t.Error("the process survives its cgroup")
		_ = cmd.Process.Kill()
	}
}

func TestRemoveRefuses(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cpc-x")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, p := range map[string]Plan{
		"not a cgroup":  {Path: "/cpc-x", Dirs: []string{dir}},
		"another id":    {Path: "/cpc-y", Dirs: []string{dir}},
		"another place": {Path: "/cpc-x", Dirs: []string{"/sys/fs/cgroup/x"}},
		"not ours":      {Path: "/x", Dirs: []string{filepath.Dir(dir)}},
		"unclean":       {Path: "/cpc-x", Dirs: []string{dir + "/../x"}},
		"not the scope": {Path: "/system.slice/cpc-x.scope/cpc-y", Scope: "cpc-x.scope", Dirs: []string{dir}},
	} {
		if err := p.Remove(); err == nil {
			t.Errorf("%s: removed", name)
		}
	}
	if _, err := os.Stat(dir); err != nil {
		t.Error(err)
	}
}
