// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package build

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/build/dockerfile"
	"github.com/claude-pocket-console/cpc/build/files"
	"github.com/claude-pocket-console/cpc/internal/hint"
	"github.com/claude-pocket-console/cpc/internal/visible"
)

// maxSecret is the size that BuildKit allows, too.
const maxSecret = 500 << 10

// Secret gives the value of a secret when a step needs it.
type Secret func() ([]byte, error)

// ReadSecret is a secret that is a file's content. It is read now, and once: each
// step is shown the same, and a pipe has nothing more to read.
func ReadSecret(name string) (Secret, error) {
	data, err := readBounded(func() (io.ReadCloser, error) { return os.Open(name) }, maxSecret)
	if err != nil {
		return nil, err
	}
	return SecretValue(string(data)), nil
}

// SecretValue is a secret that is known already.
func SecretValue(value string) Secret {
	return func() ([]byte, error) {
		if len(value) > maxSecret {
			return nil, fmt.Errorf("larger than %d bytes", maxSecret)
		}
		return []byte(value), nil
	}
}

// secret shows a secret as a file in memory, or as a variable, or both. It is
// part of neither the image nor the cache.
func (p *preparer) secret(m *dockerfile.Mount) error {
	get, ok := p.step.stage.b.Secrets[m.ID]
	if !ok {
		if !m.Required {
			return nil
		}
		return hint.With(fmt.Errorf("secret %s: not found", visible.Line(m.ID)), "provide it with --secret id="+visible.Line(m.ID)+",src=FILE")
	}
	value, err := get()
	if err != nil {
		return fmt.Errorf("secret %s: %w", visible.Line(m.ID), err)
	}
	if m.Env != "" {
		if strings.ContainsRune(string(value), 0) {
			return fmt.Errorf("secret %s: a variable cannot hold a NUL byte", visible.Line(m.ID))
		}
		p.env = append(p.env, m.Env+"="+string(value))
	}
	if m.Target == "" {
		return nil
	}
	return p.file(m, value, m.Perm(0o400))
}

// inMemory is a new path on a tmpfs of the step's.
func (p *preparer) inMemory() (string, error) {
	if p.memory == "" {
		at, err := p.place()
		if err != nil {
			return "", err
		}
		if err := os.Mkdir(at, 0o700); err != nil {
			return "", err
		}
		size := strconv.Itoa(dockerfile.MaxMounts * 2 * maxSecret)
		if err := unix.Mount("cpc-secrets", at, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0700,size="+size); err != nil {
			return "", fmt.Errorf("mount a tmpfs: %w", err)
		}
		p.step.undo = append(p.step.undo, func() error { return detach(at) })
		p.memory = at
	}
	p.count++
	return filepath.Join(p.memory, strconv.Itoa(p.count)), nil
}

// file shows data as a file, which never reaches a disk.
func (p *preparer) file(m *dockerfile.Mount, data []byte, mode uint32) error {
	at, err := p.inMemory()
	if err != nil {
		return err
	}
	if err := os.WriteFile(at, data, 0o600); err != nil {
		return err
	}
	if err := p.own(m, at, mode); err != nil {
		return err
	}
	p.add(m, at)
	return nil
}

// own gives a file or socket the owner and mode that the mount says.
func (p *preparer) own(m *dockerfile.Mount, at string, mode uint32) error {
	t, err := files.OpenWriter(filepath.Dir(at), p.step.stage.b.Mapping)
	if err != nil {
		return err
	}
	name := filepath.Base(at)
	if err = t.SetOwner(name, files.Owner{UID: m.UID, GID: m.GID}); err == nil {
		err = t.Chmod(name, mode)
	}
	return errors.Join(err, t.Close())
}
