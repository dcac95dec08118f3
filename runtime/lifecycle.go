// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runc/libcontainer/system"
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// Start lets the init of a created container become the user's program. Under a
// service manager it waits until that says that it is ready.
func (r Runtime) Start(id string) error {
	n := notifierFor(r.Root, id)
	defer n.close()
	var pid int
	err := r.states().locked(id, makes, func() error {
		c, err := r.states().load(id)
		if err != nil {
			return err
		}
		status, err := c.Status()
		if err != nil {
			return err
		}
		if err := startable(status); err != nil {
			return err
		}
		state, err := c.State()
		if err != nil {
			return err
		}
		pid = state.InitProcessPid
		hooks, err := r.states().poststartOf(id)
		if err != nil {
			return err
		}
		if err := n.listen(); err != nil {
			return err
		}
		if err := release(r.states().dir(id), pid); err != nil {
			return err
		}
		err = r.runPoststart(c, hooks)
		if err == nil || errors.Is(err, ErrCommandNotExecutable) {
			return err
		}
		return r.discardKilled(c, err)
	})
	if err == nil {
		err = n.forward(pid, pid)
	}
	if err != nil {
		return fmt.Errorf("start %s: %w", id, err)
	}
	return nil
}

// startable says, in runc's words, why a container cannot be started.
func startable(status libcontainer.Status) error {
	switch status {
	case libcontainer.Created:
		return nil
	case libcontainer.Stopped:
		return errors.New("cannot start a container that has stopped")
	case libcontainer.Running:
		return errors.New("cannot start an already running container")
	case libcontainer.Paused:
	}
	return errStatus("start", status)
}

// Kill sends a signal, a name with or without SIG or a number, to the
// container's init. SIGKILL also ends everything else in it. With all, a
// container that has ended is no error.
func (r Runtime) Kill(id, sig string, all bool) error {
	err := r.kill(id, sig)
	if err == nil || all && errors.Is(err, libcontainer.ErrNotRunning) {
		return nil
	}
	return fmt.Errorf("kill %s: %w", id, err)
}

func (r Runtime) kill(id, name string) error {
	sig, err := parseSignal(name)
	if err != nil {
		return err
	}
	c, err := r.states().load(id)
	if err != nil {
		return err
	}
	return c.Signal(sig)
}

// parseSignal accepts KILL, SIGKILL, sigkill and 9.
func parseSignal(name string) (unix.Signal, error) {
	if n, err := strconv.Atoi(name); err == nil {
		if n < 0 || n > 64 {
			return 0, fmt.Errorf("signal %d: want 0 to 64", n)
		}
		return unix.Signal(n), nil
	}
	upper := strings.ToUpper(name)
	if !strings.HasPrefix(upper, "SIG") {
		upper = "SIG" + upper
	}
	if sig := unix.SignalNum(upper); sig != 0 {
		return sig, nil
	}
	return 0, fmt.Errorf("unknown signal %q", name)
}

// Delete removes a stopped or created container. With force, a running one is
// killed first, one that is still being made or started is no more, nor who does
// that, a damaged one is removed as well as can be, and none at all is no error.
func (r Runtime) Delete(id string, force bool) error {
	as := changes
	if force {
		as = forces
	}
	err := r.states().locked(id, as, func() error { return r.remove(id, force) })
	if err != nil {
		return fmt.Errorf("delete %s: %w", id, err)
	}
	return nil
}

func (r Runtime) remove(id string, force bool) error {
	c, err := r.states().load(id)
	switch {
	case errors.Is(err, ErrNotExist):
		// A create that was killed leaves a directory without a state.
		rerr := r.states().removeHalfMade(id)
		if force {
			err = nil
		}
		return errors.Join(err, rerr)
	case errors.Is(err, ErrCorruptState) && force:
		logrus.Warnf("delete %s: %v", id, err)
		if err := killDamaged(filepath.Join(r.Root, id, stateFile)); err != nil {
			return err // what it says of the process is needed to try again
		}
		return r.states().removeHalfMade(id)
	case errors.Is(err, ErrCorruptState):
		return fmt.Errorf("%w (delete --force removes it)", err)
	case err != nil:
		return err
	}
	if force {
		return r.destroyKilled(c)
	}
	status, err := c.Status()
	if err != nil {
		return err
	}
	switch status {
	case libcontainer.Stopped:
		return r.destroy(c)
	case libcontainer.Created:
		return r.destroyKilled(c)
	case libcontainer.Running, libcontainer.Paused:
	}
	return fmt.Errorf("cannot delete container %s that is not stopped: %v", id, status)
}

// destroy removes a container whose processes have ended, and runs its poststop
// hooks: all of them, as one that fails is a warning. libcontainer stops at the
// first.
func (r Runtime) destroy(c *libcontainer.Container) error {
	hooks := c.Config().Hooks // the container's own map
	for i, h := range hooks[configs.Poststop] {
		hooks[configs.Poststop][i] = lenient{h}
	}
	made, err := r.states().readIntent(c.ID()) // of another version, or damaged: no parents
	if err := c.Destroy(); err != nil {
		return err
	}
	if err == nil {
		made.removeParents()
	}
	return nil
}

// lenient is a hook that does not fail.
type lenient struct{ hook configs.Hook }

// Run implements configs.Hook.
func (l lenient) Run(s *specs.State) error {
	if err := l.hook.Run(s); err != nil {
		logrus.Warnf("poststop hook: %v", err)
	}
	return nil
}

// destroyKilled kills a container's init, waits for its end, at most ten
// seconds, and removes what is left.
func (r Runtime) destroyKilled(c *libcontainer.Container) error {
	// Where init has ended, its cgroup may have gone with it, of which libcontainer
	// would warn; destroy kills what else is in there.
	if c.Signal(unix.Signal(0)) != nil {
		return r.destroy(c)
	}
	if err := c.Signal(unix.SIGKILL); err != nil && !errors.Is(err, libcontainer.ErrNotRunning) {
		logrus.Debugf("kill %s: %v", c.ID(), err)
	}
	wait := time.Millisecond
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		if c.Signal(unix.Signal(0)) != nil {
			return r.destroy(c)
		}
		time.Sleep(wait)
		wait = min(2*wait, 100*time.Millisecond)
	}
	return errors.New("init is still running after SIGKILL")
}

// discardKilled removes a container whose program runs or has run already.
func (r Runtime) discardKilled(c *libcontainer.Container, cause error) error {
	if err := r.destroyKilled(c); err != nil {
		logrus.Warnf("remove container %s: %v", c.ID(), err)
	}
	return cause
}

// killDamaged kills the init that the beginning of a damaged state file still
// names, provided that it is the same process.
func killDamaged(path string) error {
	data, err := readKept(path)
	if errors.Is(err, ErrCorruptState) {
		return nil // it names none
	}
	if err != nil {
		return err
	}
	pid, start := salvage(data)
	if pid <= 1 || start == 0 {
		return nil
	}
	stat, err := system.Stat(pid)
	if err != nil || stat.StartTime != start {
		return nil //nolint:nilerr // that process has ended
	}
	if err := unix.Kill(pid, unix.SIGKILL); err != nil && err != unix.ESRCH {
		return fmt.Errorf("kill %d: %w", pid, err)
	}
	return nil
}

// salvage reads init's pid and start time out of a state file's top level, as
// far as it is JSON.
func salvage(data []byte) (pid int, start uint64) {
	dec := json.NewDecoder(bytes.NewReader(data))
	if _, err := dec.Token(); err != nil {
		return 0, 0
	}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return pid, start
		}
		var value any
		switch key {
		case "init_process_pid":
			value = &pid
		case "init_process_start":
			value = &start
		default:
			value = new(json.RawMessage)
		}
		if dec.Decode(value) != nil {
			return pid, start
		}
	}
	return pid, start
}
