// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/cgroups/manager"
	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runc/libcontainer/intelrdt"
	"golang.org/x/sys/unix"
)

// intentFile says what create is about to make outside of the container's
// directory. libcontainer writes state.json only when all of that is there, so
// a create that was killed, or a damaged state.json, is cleaned up by this one.
const intentFile = "intent.json"

type intent struct {
	Cgroup      *cgroups.Cgroup   `json:"cgroup"`
	CgroupPaths map[string]string `json:"cgroupPaths"`
	Parents     []string          `json:"parents,omitempty"` // of the cgroups, that create makes; the deepest first
	IntelRdt    *configs.IntelRdt `json:"intelRdt,omitempty"`
	Hooks       *configs.Hooks    `json:"hooks,omitempty"` // poststart's, see poststart
	LongWay     Reason            `json:"longWay,omitempty"`
}

// processName is argv[0] of every init of this container until it executes the
// user's program. Others in the container's pid namespace see it, so it is a digest
// of ROOT/ID, which is a path of the host.
func (d states) processName(id string) string {
	sum := sha256.Sum256([]byte(filepath.Join(string(d), id)))
	return "cpc-runtime:" + hex.EncodeToString(sum[:16])
}

// writeIntent comes before any process or cgroup of the container.
func (r Runtime) writeIntent(c *libcontainer.Container, p poststart) error {
	os.Args[0] = r.states().processName(c.ID()) // libcontainer gives this to init
	state, err := c.State()
	if err != nil {
		return err
	}
	i := intent{Cgroup: state.Config.Cgroups, CgroupPaths: state.CgroupPaths, IntelRdt: state.Config.IntelRdt}
	if !r.SystemdCgroup {
		i.Parents = newParents(state.CgroupPaths)
	}
	if len(p) > 0 {
		i.Hooks = &configs.Hooks{configs.Poststart: configs.HookList(p)}
	}
	data, err := json.Marshal(i)
	if err != nil {
		return err
	}
	// A half-written one is as good as none: nothing has been made by then.
	return os.WriteFile(filepath.Join(r.Root, c.ID(), intentFile), data, 0o600)
}

// readIntent is what create has noted of a container.
func (d states) readIntent(id string) (i intent, err error) {
	err = readKeptJSON(filepath.Join(string(d), id, intentFile), &i)
	return i, err
}

// removeHalfMade removes all there is of a container without a usable state.
// Preconditions: the container's lock is held.
func (d states) removeHalfMade(id string) error {
	dir := filepath.Join(string(d), id)
	data, err := readKept(filepath.Join(dir, intentFile))
	if errors.Is(err, os.ErrNotExist) {
		return os.RemoveAll(dir)
	}
	if err != nil {
		return err
	}
	err = d.killHalfMade(id)
	var made intent
	if json.Unmarshal(data, &made) == nil && made.Cgroup != nil {
		err = errors.Join(err, made.remove(id))
	}
	if err != nil {
		return err // the directory stays, so that this can be tried again
	}
	return os.RemoveAll(dir)
}

// killHalfMade kills the container's inits that wait for a parent which is no
// more. Most of them end by themselves, when they see their pipe closed.
func (d states) killHalfMade(id string) error {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return err
	}
	want := []byte(d.processName(id) + "\x00init\x00")
	for _, e := range entries {
		pid, nerr := strconv.Atoi(e.Name())
		if nerr != nil || !runs(pid, want) {
			continue
		}
		fd, perr := unix.PidfdOpen(pid, 0)
		if perr != nil {
			continue // it has ended
		}
		if runs(pid, want) { // still, so the descriptor is that process's
			err = errors.Join(err, killAndWait(fd))
		}
		_ = unix.Close(fd)
	}
	return err
}

func runs(pid int, cmdline []byte) bool {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
	return err == nil && bytes.Equal(data, cmdline)
}

// killAndWait ends a process and waits until it has, five seconds at most.
func killAndWait(pidfd int) error {
	if err := unix.PidfdSendSignal(pidfd, unix.SIGKILL, nil, 0); err != nil && err != unix.ESRCH {
		return os.NewSyscallError("pidfd_send_signal", err)
	}
	fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	for deadline := time.Now().Add(5 * time.Second); ; {
		n, err := unix.Poll(fds, max(0, int(time.Until(deadline).Milliseconds())))
		switch {
		case err == unix.EINTR:
		case err != nil:
			return os.NewSyscallError("poll", err)
		case n == 0:
			return errors.New("init is still running after SIGKILL")
		default:
			return nil
		}
	}
}

// remove removes the cgroups, and what is still in them.
func (i *intent) remove(id string) error {
	m, err := manager.NewWithPaths(i.Cgroup, i.CgroupPaths)
	if err != nil {
		return fmt.Errorf("cgroup: %w", err)
	}
	for range 50 {
		left, err := killGroup(m)
		if err != nil {
			return err
		}
		if !left {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err = m.Destroy(); err == nil {
		i.removeParents()
	}
	if i.IntelRdt != nil {
		config := &configs.Config{IntelRdt: i.IntelRdt, Cgroups: i.Cgroup}
		if rdt := intelrdt.NewManager(config, id, ""); rdt != nil {
			err = errors.Join(err, rdt.Destroy())
		}
	}
	return err
}

// killGroup kills every process of a cgroup, and says whether there were any.
// It looks where create has made sure that nobody else was in it.
func killGroup(m cgroups.Manager) (bool, error) {
	pids, err := m.GetAllPids()
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENODEV) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("cgroup: %w", err)
	}
	for _, pid := range pids {
		if err := unix.Kill(pid, unix.SIGKILL); err != nil && err != unix.ESRCH {
			return true, fmt.Errorf("kill %d: %w", pid, err)
		}
	}
	return len(pids) > 0, nil
}
