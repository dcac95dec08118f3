// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/procstat"
)

// poststart are the hooks of that kind. libcontainer would run them at the end
// of create, when the user's program does not run yet; the specification wants
// them after it has been executed and before start returns.
type poststart configs.HookList

// takePoststart keeps libcontainer from running them.
func takePoststart(config *configs.Config) poststart {
	hooks := config.Hooks[configs.Poststart]
	delete(config.Hooks, configs.Poststart)
	return poststart(hooks)
}

// poststartOf reads what create has put aside.
func (d states) poststartOf(id string) (poststart, error) {
	data, err := readKept(filepath.Join(string(d), id, intentFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var i intent
	if err := json.Unmarshal(data, &i); err != nil {
		return nil, fmt.Errorf("%s: %w: %w", intentFile, ErrCorruptState, err)
	}
	if i.Hooks == nil {
		return nil, nil
	}
	return poststart((*i.Hooks)[configs.Poststart]), nil
}

// diedAsInit says whether a process that has ended, by no signal, did so before it
// executed the user's program. Nobody knows of one that was reaped already.
func diedAsInit(pid int) bool {
	stat, err := procstat.Read(pid)
	return err == nil && stat.State == 'Z' && strings.HasPrefix(stat.Name, "runc:[") && stat.Exit&0x7f == 0
}

// endsAsInit: without a command line any more, and not yet a zombie.
func endsAsInit(pid int) bool {
	stat, err := procstat.Read(pid)
	return err == nil && stat.State != 'Z' && strings.HasPrefix(stat.Name, "runc:[")
}

// errNotExecuted is of libcontainer's init, which says why to the container's stderr.
var errNotExecuted = classified{
	error: errors.New("exec: the command could not be executed, see the container's stderr"), kind: ErrCommandNotExecutable,
}

// runPoststart waits for the user's program and runs the hooks. When one fails,
// the container is killed.
func (r Runtime) runPoststart(c *libcontainer.Container, p poststart) error {
	hooked := len(c.Config().Hooks[configs.StartContainer]) > 0
	mayFail := hooked || !r.AsRunc && r.states().longWayOf(c.ID()) != "" // package enter's has told
	if len(p) == 0 && !mayFail {
		return nil
	}
	loaded, err := c.State()
	if err != nil {
		return err
	}
	pid := loaded.InitProcessPid
	init := []byte(r.states().processName(c.ID()) + "\x00init\x00")
	for runs(pid, init) {
		time.Sleep(time.Millisecond)
	}
	for deadline := time.Now().Add(time.Second); mayFail && endsAsInit(pid) && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	if mayFail && diedAsInit(pid) {
		if !hooked {
			return errNotExecuted
		}
		return errors.New("startContainer hook: failed, see the container's stderr")
	}
	if len(p) == 0 {
		return nil
	}
	state, err := c.OCIState()
	if err == nil {
		// The program may have ended already; the hooks are told of its start.
		state.Status, state.Pid = specs.StateRunning, pid
		err = configs.Hooks{configs.Poststart: configs.HookList(p)}.Run(configs.Poststart, state)
	}
	if err != nil {
		if kerr := c.Signal(unix.SIGKILL); kerr != nil && !errors.Is(kerr, libcontainer.ErrNotRunning) {
			err = errors.Join(err, kerr)
		}
		return fmt.Errorf("poststart: %w", err)
	}
	return nil
}
