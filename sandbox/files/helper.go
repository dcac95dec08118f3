// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package files

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	goruntime "runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/bounded"
	"github.com/claude-pocket-console/cpc/internal/handoff"
	"github.com/claude-pocket-console/cpc/internal/idmap"
)

// Launch is how a helper is started.
type Launch struct {
	Root    *os.File // the sandbox's root directory
	Mapping idmap.Mapping
	// Enter puts a process into the sandbox's cgroup.
	Enter func(pid int) error
}

// Helper is a running helper. Its tar comes from Out, or goes to In.
type Helper struct {
	In  io.WriteCloser
	Out io.Reader

	cmd  *exec.Cmd
	said bounded.Buffer
}

// Start starts a helper. The caller reads Out to its end, and calls Wait.
//
// Preconditions: CAP_SYS_ADMIN, CAP_SETUID and CAP_SETGID in the caller's user namespace,
// the parent of the sandbox's.
func Start(o Order, l Launch) (*Helper, error) {
	order, send, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer send.Close()
	h := &Helper{cmd: exec.Command("/proc/self/exe", Role), said: bounded.Buffer{Most: 8 << 10}}
	h.cmd.Dir = "/"
	// Few threads: they count in the sandbox. No file of the host is looked at for a time zone.
	h.cmd.Env = []string{"GOMAXPROCS=2", "GOTRACEBACK=none", "TZ=UTC"}
	h.cmd.ExtraFiles = []*os.File{order, l.Root}
	h.cmd.Stderr = &h.said
	h.cmd.SysProcAttr = attributes(l.Mapping)
	if h.In, err = h.cmd.StdinPipe(); err == nil {
		h.Out, err = h.cmd.StdoutPipe()
	}
	if err == nil {
		err = startWithoutPrivileges(h.cmd)
	}
	_ = order.Close()
	if err != nil {
		return nil, fmt.Errorf("start the helper that copies files: %w", err)
	}
	o.Single = l.Mapping.Mode == idmap.Single
	if err = l.Enter(h.cmd.Process.Pid); err == nil {
		err = handoff.Send(send, Role, o)
	}
	if err != nil {
		h.Kill()
		_ = h.cmd.Wait() // it was killed
		return nil, err
	}
	return h, nil
}

// attributes put a helper into namespaces of its own. It begins as the caller and has
// the ids of the sandbox only when it takes them: so it may execute this program,
// wherever that is. Only what it needs to confine itself outlives that.
func attributes(m idmap.Mapping) *syscall.SysProcAttr {
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: int(m.Base), Size: int(m.Size)}}
	return &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS,
		Setsid:     true, UidMappings: ids, GidMappings: ids, GidMappingsEnableSetgroups: m.Mode != idmap.Single, AmbientCaps: needed(),
	}
}

// startWithoutPrivileges starts a process that gains none by execve.
func startWithoutPrivileges(cmd *exec.Cmd) error {
	started := make(chan error)
	go func() {
		// What is set here holds for this thread, which is cloned, and then ends.
		goruntime.LockOSThread()
		err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
		if err == nil {
			err = cmd.Start()
		}
		started <- err
	}()
	return <-started
}

// Kill ends the helper. Wait is still to be called.
func (h *Helper) Kill() { _ = h.cmd.Process.Kill() }

// Wait returns how it ended.
func (h *Helper) Wait() error {
	err := h.cmd.Wait()
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		return err
	}
	said := strings.TrimSpace(h.said.String())
	switch status, _ := exit.Sys().(syscall.WaitStatus); {
	case status.Signaled():
		return fmt.Errorf("the helper that copies files was ended by %v: the sandbox may have reached its memory limit", status.Signal())
	case strings.Contains(said, "newosproc"), strings.Contains(said, "new OS thread"):
		return errors.New("the helper that copies files could not start: the sandbox has reached its limit of processes (--pids-limit)")
	case said == "":
		return fmt.Errorf("the helper that copies files: %w", err)
	}
	return errors.New(said)
}
