// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package dockerfile

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"

	"github.com/claude-pocket-console/cpc/internal/hint"
	"github.com/claude-pocket-console/cpc/internal/visible"
)

// MountType is what a RUN step sees at a place of its own.
type MountType string

// The types of RUN --mount, and the file that a heredoc script is.
const (
	MountBind   MountType = "bind"
	MountCache  MountType = "cache"
	MountTmpfs  MountType = "tmpfs"
	MountSecret MountType = "secret"
	MountSSH    MountType = "ssh"
	MountScript MountType = "script"
)

const (
	// MaxMounts bounds the mounts of one step.
	MaxMounts = 100
	// secretDir and agentSocket are where BuildKit puts what has no target.
	secretDir   = "/run/secrets/"
	agentSocket = "/run/buildkit/ssh_agent."
	// scriptDir is where a script with a #! line appears.
	scriptDir = "/dev/pipes/"
)

// Mount is one mount of a RUN step, as planned.
type Mount struct {
	Type     MountType `json:"type"`
	Target   string    `json:"target,omitempty"`
	From     Origin    `json:"from,omitzero"`
	Source   string    `json:"source,omitempty"`
	ReadOnly bool      `json:"readOnly,omitempty"`
	// Size bounds a tmpfs, 0 for half of the memory.
	Size int64 `json:"size,omitempty"`
	// ID names a cache, a secret or an agent.
	ID       string `json:"id,omitempty"`
	Sharing  string `json:"sharing,omitempty"`
	Required bool   `json:"required,omitempty"`
	// Env is the variable that a secret goes into.
	Env  string  `json:"env,omitempty"`
	UID  uint32  `json:"uid,omitempty"`
	GID  uint32  `json:"gid,omitempty"`
	Mode *uint32 `json:"mode,omitempty"`
	// Data is the text of a script.
	Data string `json:"data,omitempty"`
}

// Perm is the permission bits that were asked for, or those of the type.
func (m *Mount) Perm(otherwise uint32) uint32 {
	if m.Mode != nil {
		return *m.Mode
	}
	return otherwise
}

// mounts plans the --mount flags of a RUN.
func (s *stagePlanner) mounts(c *instructions.RunCommand) ([]Mount, error) {
	given := instructions.GetMounts(c)
	if len(given) > MaxMounts {
		return nil, fmt.Errorf("more than %d mounts", MaxMounts)
	}
	var out []Mount
	agents := 0
	for _, g := range given {
		m, err := s.mount(g)
		if err != nil {
			return nil, fmt.Errorf("--mount=type=%s: %w", g.Type, err)
		}
		if m.Type == MountSSH {
			if m.Target == "" {
				m.Target = fmt.Sprint(agentSocket, agents)
			}
			agents++
		}
		out = append(out, m)
	}
	return out, nil
}

func (s *stagePlanner) mount(g *instructions.Mount) (Mount, error) {
	m := Mount{
		Type: MountType(g.Type), Source: g.Source, ReadOnly: g.ReadOnly, Size: g.SizeLimit,
		ID: g.CacheID, Sharing: string(g.CacheSharing), Required: g.Required,
	}
	if strings.ContainsRune(g.Target+g.Source, 0) {
		return m, errors.New("a path contains a NUL byte")
	}
	if g.Target != "" || m.Type != MountSecret && m.Type != MountSSH {
		m.Target = absolute(s.dir(), g.Target)
	}
	if g.UID != nil {
		m.UID = uint32(*g.UID)
	}
	if g.GID != nil {
		m.GID = uint32(*g.GID)
	}
	if g.Mode != nil {
		if *g.Mode > 0o7777 {
			return m, fmt.Errorf("mode %o is larger than 7777", *g.Mode)
		}
		m.Mode = new(uint32(*g.Mode))
	}
	switch m.Type {
	case MountSecret:
		return m, m.planSecret(g)
	case MountSSH:
		if m.Source != "" {
			return m, errors.New("ssh does not support source")
		}
		if m.ID == "" {
			m.ID = "default"
		}
		return m, nil
	case MountBind, MountCache, MountTmpfs, MountScript:
	}
	return m, s.planDirectory(&m, g.From)
}

// planDirectory completes what has a directory or file of its own.
func (s *stagePlanner) planDirectory(m *Mount, from string) error {
	if m.Target == "/" {
		return hint.With(fmt.Errorf("invalid mount target %q", m.Target), "use target=/path; the default is the working directory")
	}
	if m.Type == MountTmpfs {
		m.Source = ""
		return nil
	}
	m.Source = path.Clean("/" + m.Source)
	if m.Type == MountCache {
		if m.Sharing == "" {
			m.Sharing = string(instructions.MountSharingShared)
		}
		if m.ID == "" {
			m.ID = m.Target
		}
		if from == "" || from == scratch {
			m.From = Origin{Kind: FromScratch}
			return nil
		}
	}
	if from == scratch {
		m.From = Origin{Kind: FromScratch}
		return nil
	}
	var err error
	m.From, err = s.plan.originOf("from", from, s.index)
	return err
}

// planSecret gives a secret its id and place.
func (m *Mount) planSecret(g *instructions.Mount) error {
	if g.Source != "" {
		m.ID, m.Source = g.Source, ""
	}
	if m.ID == "" {
		m.ID = path.Base(m.Target)
	}
	if g.Env != nil {
		m.Env = *g.Env
		if m.Env == "" {
			m.Env = m.ID
		}
		if strings.ContainsAny(m.Env, "=\x00") {
			return fmt.Errorf("%q is not a variable name", visible.Line(m.Env))
		}
		return nil // it is a file, too, if there is a target
	}
	if m.Target == "" {
		m.Target = secretDir + path.Base(m.ID)
	}
	return nil
}

// keyed is what of the mounts belongs to the cache key: the sources' content
// is digested apart, and a secret's value must not matter.
func keyed(mounts []Mount) []Mount {
	var out []Mount
	for _, m := range mounts {
		if m.Type == MountBind {
			m.From, m.Source = Origin{}, ""
		}
		out = append(out, m)
	}
	return out
}
