// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"syscall"
	"time"

	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/utils"
	"github.com/sirupsen/logrus"
)

// State is what state and list tell of a container: the OCI state and a few
// fields more, the same as runc's but for the last, which runc's name does without.
type State struct {
	Version     string            `json:"ociVersion"`
	ID          string            `json:"id"`
	Pid         int               `json:"pid"` // 0 when stopped
	Status      string            `json:"status"`
	Bundle      string            `json:"bundle"`
	Rootfs      string            `json:"rootfs"`
	Created     time.Time         `json:"created"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Owner       string            `json:"owner"`
	LongWay     Reason            `json:"longWay,omitempty"` // why libcontainer's init started it
}

// State returns the state of one container.
func (r Runtime) State(id string) (State, error) {
	s, err := r.state(id)
	if err != nil {
		return State{}, fmt.Errorf("state %s: %w", id, err)
	}
	return s, nil
}

func (r Runtime) state(id string) (State, error) {
	c, err := r.states().load(id)
	if err != nil {
		return State{}, err
	}
	status, err := c.Status()
	if err != nil {
		return State{}, err
	}
	state, err := c.State()
	if err != nil {
		return State{}, err
	}
	bundle, annotations := utils.Annotations(state.Config.Labels)
	s := State{
		Version:     state.Config.Version,
		ID:          state.ID,
		Pid:         state.InitProcessPid,
		Status:      status.String(),
		Bundle:      bundle,
		Rootfs:      state.Config.Rootfs,
		Created:     state.Created,
		Annotations: annotations,
	}
	if status == libcontainer.Stopped {
		s.Pid = 0
	}
	if !r.AsRunc {
		s.LongWay = r.states().longWayOf(id)
	}
	return s, nil
}

// List returns the state of every container. One that cannot be read is
// warned of and left out. mayLack says that no state directory means none.
func (r Runtime) List(mayLack bool) ([]State, error) {
	if err := r.states().checkRoot(); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(r.Root)
	if mayLack && errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list: %w", err)
	}
	states := []State{}
	for _, e := range entries {
		if !e.IsDir() || checkID(e.Name()) != nil {
			continue
		}
		s, err := r.state(e.Name())
		if err != nil {
			if !errors.Is(err, ErrNotExist) { // being created or deleted
				logrus.Warnf("list %s: %v", e.Name(), err)
			}
			continue
		}
		s.Owner = owner(e)
		states = append(states, s)
	}
	return states, nil
}

// owner names the user who owns a container's directory.
func owner(e os.DirEntry) string {
	info, err := e.Info()
	if err != nil {
		return ""
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return ""
	}
	uid := strconv.FormatUint(uint64(stat.Uid), 10)
	if u, err := user.LookupId(uid); err == nil {
		return u.Username
	}
	return "#" + uid
}
