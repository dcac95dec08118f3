// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/cgroups"
	"github.com/claude-pocket-console/cpc/internal/dirs"
	"github.com/claude-pocket-console/cpc/internal/idmap"
	"github.com/claude-pocket-console/cpc/internal/procstat"
	"github.com/claude-pocket-console/cpc/internal/testkit"
	"github.com/claude-pocket-console/cpc/sandbox/bundle"
	"github.com/claude-pocket-console/cpc/sandbox/monitor"
	"github.com/claude-pocket-console/cpc/sandbox/network"
	"github.com/claude-pocket-console/cpc/sandbox/process"
	"github.com/claude-pocket-console/cpc/sandbox/record"
)

// asCPC has a copy of this test be cpc.
const asCPC = "CPC_TEST_AS_CPC"

func TestMain(m *testing.M) {
	// cpc as starts itself by this name, without the caller's environment.
	if os.Getenv(asCPC) != "" || os.Args[0] == "cpc" {
		os.Exit(dispatch(os.Args))
	}
	os.Exit(m.Run())
}

// waits are all commands that can be run, each with a way to have it wait, more
// than one line for those that wait for different things. BOX is a sandbox whose
// monitor never answers, IMG an image, HOST a registry that never answers, FIFO
// a pipe that nobody writes to. What a command does with standard input or output
// is shown by a pipe that nobody writes to (input; alone: and no sandbox runs), or
// reads from (output).
const waits = `
monitor attach BOX
monitor cp BOX:/etc/passwd -
monitor exec BOX true
monitor exec -d BOX true
monitor export BOX
monitor kill BOX
monitor net allow BOX a.test
monitor net deny BOX a.test
monitor net remove BOX a.test
monitor net show BOX
monitor net test BOX a.test
monitor pause BOX
monitor rm -f BOX
monitor stop BOX
monitor unpause BOX
monitor wait BOX
monitor wait BOX BOX
input   build -
input   build -f - DIR
input   build -f FIFO DIR
input   builder prune
input   container prune
input   exec --env-file FIFO BOX true
input   run --label-file FIFO IMG
input   image prune
input   import -
input   load
input   load -i FIFO
input   login -u me --password-stdin HOST
input   system prune
alone   system reset
network login -u me -p secret HOST
network net learn HOST/a
network pull HOST/a
network pull -a HOST/a
network referrers HOST/a
network run HOST/a
network sbom HOST/a
network scan HOST/a
network search HOST/a
itself  events
itself  logs -f BOX
itself  logs -f --until 2099-01-01 BOX
itself  net log -f BOX
itself  stats
output  as 65534 ps --help
output  buildx ls
output  buildx version
output  doctor
output  help
output  history IMG
output  image inspect IMG
output  container inspect BOX
output  images
output  info
output  inspect BOX
output  logout HOST
output  net presets
output  profile ls
output  profile show work
output  ps
output  rmi IMG
output  save IMG
output  setup
output  sweep x
output  system check
output  system df
output  push IMG
output  tag IMG b
output  top BOX
output  update BOX
output  version
`

// TestEveryCommandEnds: Ctrl-C and SIGTERM end every command, whatever it waits
// for, with a shell's status. A new command is not in the list, and fails.
func TestEveryCommandEnds(t *testing.T) {
	w, root := newWaiting(t), documented(t)
	known := map[string]bool{}
	places := make(chan struct{}, 16)
	var all sync.WaitGroup
	for line := range strings.Lines(strings.TrimSpace(waits)) {
		f := strings.Fields(line)
		if cmd, _, err := root.Find(f[1:]); err == nil {
			known[strings.TrimPrefix(cmd.CommandPath(), "cpc ")] = true
		}
		for _, sig := range []unix.Signal{unix.SIGINT, unix.SIGTERM} {
			places <- struct{}{}
			all.Go(func() { // more at a time than -parallel: they wait, most of the time
				defer func() { <-places }()
				if err := w.end(f[0], f[1:], sig); err != nil {
					t.Errorf("%s, %s: %v", strings.Join(f[1:], " "), unix.SignalName(sig), err)
				}
			})
		}
	}
	all.Wait()
	for _, path := range w.commands(root) {
		if !known[path] {
			t.Errorf("%s: not in the list: how is it brought to wait?", path)
		}
	}
}

// waiting is what commands can wait for.
type waiting struct {
	dir   string
	words *strings.Replacer
	env   []string
}

func newWaiting(t *testing.T) *waiting {
	t.Helper()
	w := &waiting{dir: t.TempDir()}
	bin, fifo, state, data := filepath.Join(w.dir, "bin"), filepath.Join(w.dir, "fifo"), filepath.Join(w.dir, "state"), filepath.Join(w.dir, "data")
	registry, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = registry.Close() })
	err = errors.Join(
		os.Mkdir(bin, 0o700), os.Mkdir(state, 0o700), os.Mkdir(data, 0o700), unix.Mkfifo(fifo, 0o600),
		os.WriteFile(filepath.Join(bin, "cpc-runtime"), []byte("#!/bin/false\n"), 0o700), //nolint:gosec // a program
		os.WriteFile(filepath.Join(bin, "cpc-scan"), []byte("#!/bin/false\n"), 0o700),    //nolint:gosec // a program
		addBox(t, dirs.Dirs{State: state, Data: data}),
	)
	if err != nil {
		t.Fatal(err)
	}
	w.words = strings.NewReplacer("BOX", "box", "IMG", "none:latest", "HOST", registry.Addr().String(), "FIFO", fifo, "DIR", bin)
	w.env = append(os.Environ(), asCPC+"=1", "CPC_STATE_DIR="+state, "CPC_DATA_DIR="+data, "CPC_RUNTIME=", "CPC_LIMITS=best-effort",
		"HOME="+w.dir, "DOCKER_CONFIG="+w.dir, "XDG_CONFIG_HOME="+w.dir, "PATH="+bin+":"+os.Getenv("PATH"))
	return w
}

// addBox adds a sandbox whose monitor, this process, never answers.
func addBox(t *testing.T, d dirs.Dirs) error {
	t.Helper()
	entry, lock, err := record.Set{Dirs: d}.Add(&record.Record{
		ID: record.NewID(), Name: "box", Status: record.Running, MonitorPID: os.Getpid(), PID: 1 << 30, Started: time.Now(),
		Asked: record.Asked{Options: bundle.Options{Network: bundle.NetworkAllowlist}}, Mapping: idmap.ForMapped(),
	})
	if err != nil {
		return err
	}
	t.Cleanup(func() { _ = lock.Close() })
	listener, err := entry.Listen()
	if err != nil {
		return err
	}
	t.Cleanup(func() { _ = listener.Close() })
	decisions := filepath.Join(entry.DataDir, network.LogDir)
	return errors.Join(
		monitor.SavePlan(entry, cgroups.Plan{}), os.Mkdir(decisions, 0o700),
		os.WriteFile(filepath.Join(decisions, "log"), nil, 0o600), os.WriteFile(filepath.Join(entry.DataDir, "log"), nil, 0o600),
	)
}

// commands are the paths of all commands that can be run, each once.
func (w *waiting) commands(root *cobra.Command) (paths []string) {
	also := aliases(root)
	level := root.Commands()
	for len(level) > 0 {
		var next []*cobra.Command
		for _, cmd := range level {
			next = append(next, cmd.Commands()...)
			if also[cmd] == nil && !cmd.HasSubCommands() && cmd.Short != "Not offered" && cmd.Name() != connectName {
				paths = append(paths, strings.TrimPrefix(cmd.CommandPath(), "cpc "))
			}
		}
		level = next
	}
	return paths
}

// end runs a command, waits until it waits, and ends it with sig.
func (w *waiting) end(how string, args []string, sig unix.Signal) error {
	args = strings.Fields(w.words.Replace(strings.Join(args, " ")))
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self, args...)
	cmd.Args[0], cmd.Env, cmd.Dir = "cpc", slices.Clone(w.env), w.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var said bytes.Buffer
	switch how {
	case "input", "alone":
		if how == "alone" {
			cmd.Env = append(cmd.Env, "CPC_STATE_DIR="+filepath.Join(w.dir, "alone", "state"), "CPC_DATA_DIR="+filepath.Join(w.dir, "alone", "data"))
		}
		in, err := cmd.StdinPipe()
		if err != nil {
			return err
		}
		defer in.Close()
		cmd.Stdout, cmd.Stderr = &said, &said
	case "output":
		r, out, err := fullPipe()
		if err != nil {
			return err
		}
		defer r.Close()
		defer out.Close()
		cmd.Stdout, cmd.Stderr = out, out
	default:
		cmd.Stdout, cmd.Stderr = &said, &said
	}
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Start(); err != nil {
		return err
	}
	over := make(chan struct{})
	var result error
	go func() {
		result = cmd.Wait()
		close(over)
	}()
	family := starts(settle(cmd.Process.Pid, over))
	select {
	case <-over:
		return fmt.Errorf("it did not wait, but ended: %w\n%s", result, said.Bytes())
	default:
	}
	begun := time.Now()
	if err := cmd.Process.Signal(sig); err != nil {
		return err
	}
	if !overInTime(over) {
		took := time.Since(begun)
		_ = cmd.Process.Signal(unix.SIGQUIT) // its goroutines tell what it waits for
		if !overInTime(over) {
			_ = cmd.Process.Kill()
			<-over
		}
		return fmt.Errorf("it was still there %v after the signal\n%s", took, said.Bytes())
	}
	if got, want := process.ExitCode(unix.WaitStatus(cmd.ProcessState.Sys().(syscall.WaitStatus))), 128+int(sig); got != want {
		return fmt.Errorf("status %d, want %d\n%s", got, want, said.Bytes())
	}
	return gone(family)
}

// overInTime reports whether a command ends. The second that is promised is an idle
// machine's; a command that does not listen is still there after any time.
func overInTime(over <-chan struct{}) bool {
	select {
	case <-over:
		return true
	case <-time.After(20 * time.Second):
		return false
	}
}

// fullPipe is a pipe into which nothing more goes.
func fullPipe() (r, w *os.File, err error) {
	if r, w, err = os.Pipe(); err != nil {
		return nil, nil, err
	}
	size, err := unix.FcntlInt(w.Fd(), unix.F_GETPIPE_SZ, 0)
	if err == nil {
		_, err = w.Write(make([]byte, size))
	}
	return r, w, err
}

// settle returns when the process and its descendants have used no processor time
// for a while, or it has ended, with those that there are.
func settle(pid int, over <-chan struct{}) (family []int) {
	const still, most = 6, 400
	last, same := "", 0
	for range most {
		time.Sleep(50 * time.Millisecond)
		now := machine.look()
		family = append(family[:0], pid)
		var used strings.Builder
		for i := 0; i < len(family); i++ {
			fmt.Fprintln(&used, family[i], now[family[i]].Used)
			for _, child := range slices.Sorted(maps.Keys(now)) {
				if now[child].Parent == family[i] {
					family = append(family, child)
				}
			}
		}
		if same++; used.String() != last {
			last, same = used.String(), 0
		}
		select {
		case <-over:
			return family
		default:
		}
		if same >= still {
			break
		}
	}
	return family
}

// machine is what all commands look at. Each looking for itself kept the kernel's list of
// processes so busy that none came to its end.
var machine processes

type processes struct {
	mu   sync.Mutex // guards what follows
	at   time.Time
	seen map[int]procstat.Stat
}

func (p *processes) look() map[int]procstat.Stat {
	p.mu.Lock()
	defer p.mu.Unlock()
	if time.Since(p.at) < 40*time.Millisecond {
		return p.seen
	}
	p.seen = map[int]procstat.Stat{}
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if s, err := procstat.Read(pid); err == nil {
			p.seen[pid] = s
		}
	}
	p.at = time.Now()
	return p.seen
}

// starts tells when each process was started: its number may be another's later.
func starts(pids []int) map[int]uint64 {
	found := map[int]uint64{}
	for _, pid := range pids {
		if s, err := procstat.Read(pid); err == nil {
			found[pid] = s.Start
		}
	}
	return found
}

// gone waits for the end of processes.
func gone(family map[int]uint64) error {
	for pid, start := range family {
		var s procstat.Stat
		over := func() bool {
			var err error
			s, err = procstat.Read(pid)
			return err != nil || s.State == 'Z' || s.Start != start
		}
		if !testkit.Within(testkit.Patience, over) {
			return fmt.Errorf("process %d (%s) is left", pid, s.Name)
		}
	}
	return nil
}
