// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/opencontainers/runc/libcontainer"
)

// Errors a caller branches on.
var (
	// ErrNotExist: there is no container with this id.
	ErrNotExist = libcontainer.ErrNotExist
	// ErrExist: the id is in use.
	ErrExist = libcontainer.ErrExist
	// ErrCorruptState: state.json of the container is not readable.
	ErrCorruptState = errors.New("corrupt state")
)

// maxName is the longest name of a file, and so of a container.
const maxName = 255

// stateFile is where libcontainer keeps what it knows of a container.
const stateFile = "state.json"

// Runtime is where containers are kept and how their cgroups are made.
type Runtime struct {
	// Root is the absolute directory of the containers' states.
	Root string
	// SystemdCgroup has systemd make the cgroups; cgroupsPath then is
	// slice:prefix:name.
	SystemdCgroup bool
	// Rootless says whether cgroups that may not be written are left alone:
	// "true", "false", or "auto" (anyone but root of the initial user
	// namespace).
	Rootless string
	// AsRunc has a command that execve(2) refuses end as with runc: after start has
	// succeeded, with 255 and a line on its own stderr.
	AsRunc bool

	// TellLongWay has what goes the long way logged, as a message of its own.
	TellLongWay bool
}

// states is the directory of the containers' states, a Runtime's Root: it finds, locks and
// reads what is kept of a container, and removes what a killed create has left half made.
// How a container is made and run is Runtime's.
type states string

func (r Runtime) states() states { return states(r.Root) }

// dir is where the state of a container is.
func (d states) dir(id string) string { return filepath.Join(string(d), id) }

// checkRoot refuses a state directory that cannot be meant.
func (d states) checkRoot() error {
	if !filepath.IsAbs(string(d)) || filepath.Clean(string(d)) == "/" {
		return fmt.Errorf("state directory %q: must be an absolute path other than /", string(d))
	}
	return nil
}

// load finds an existing container. The state is checked first, because
// libcontainer dereferences what a damaged one lacks.
func (d states) load(id string) (*libcontainer.Container, error) {
	if err := d.checkRoot(); err != nil {
		return nil, err
	}
	if err := checkID(id); err != nil {
		return nil, err
	}
	if err := checkState(filepath.Join(string(d), id, stateFile), id); err != nil {
		return nil, err
	}
	c, err := libcontainer.Load(string(d), id)
	if mistyped, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return nil, fmt.Errorf("%s: %w: %w", filepath.Join(string(d), id, stateFile), ErrCorruptState, mistyped)
	}
	return c, err
}

// checkState verifies that a state file is whole.
func checkState(path, id string) error {
	data, err := readKept(path)
	if errors.Is(err, os.ErrNotExist) {
		return ErrNotExist
	}
	if err != nil {
		return err
	}
	var state struct {
		ID     string `json:"id"`
		Pid    int    `json:"init_process_pid"`
		Config struct {
			Cgroups json.RawMessage `json:"cgroups"`
		} `json:"config"`
	}
	if err := json.Unmarshal(data, &state); err != nil {
		return fmt.Errorf("%s: %w: %w", path, ErrCorruptState, err)
	}
	cgroups := string(state.Config.Cgroups)
	if state.ID != id || state.Pid <= 0 || cgroups == "" || cgroups == "null" {
		return fmt.Errorf("%s: %w: fields are missing", path, ErrCorruptState)
	}
	return nil
}

// checkID refuses ids that libcontainer would, so that no path is built from
// one before it has been checked.
func checkID(id string) error {
	if id == "" {
		return errors.New("container id cannot be empty")
	}
	if len(id) > maxName {
		return fmt.Errorf("%w: %d bytes long, want at most %d", libcontainer.ErrInvalidID, len(id), maxName)
	}
	if id == "." || id == ".." {
		return fmt.Errorf("%w: %q", libcontainer.ErrInvalidID, id)
	}
	for i := range len(id) {
		c := id[i]
		ok := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' ||
			c == '_' || c == '+' || c == '-' || c == '.'
		if !ok {
			return fmt.Errorf("%w: %q: only letters, digits and _ + - . are allowed", libcontainer.ErrInvalidID, id)
		}
	}
	return nil
}
