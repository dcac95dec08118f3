// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package build

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/claude-pocket-console/cpc/build/dockerfile"
	"github.com/claude-pocket-console/cpc/internal/hint"
	"github.com/claude-pocket-console/cpc/internal/visible"
)

// maxKey bounds a file with a private key.
const maxKey = 100 << 10

// Agent is an ssh agent for RUN --mount=type=ssh: another one's socket, or keys.
type Agent struct {
	// Socket is the path of an agent's socket.
	Socket string
	// Keys are private keys, without passphrases, that an agent of the
	// builder's own holds; Socket is "" then.
	Keys []Key
}

// Key is a private key as it was read.
type Key struct {
	Name string // of the file
	data []byte
}

// ReadKey reads a file with a private key, once.
func ReadKey(name string) (Key, error) {
	data, err := readBounded(func() (io.ReadCloser, error) { return os.Open(name) }, maxKey)
	if err != nil {
		return Key{}, fmt.Errorf("key %s: %w", visible.Line(name), err)
	}
	return Key{Name: name, data: data}, nil
}

// errReadOnly is what a step is told that wants to change an agent.
var errReadOnly = errors.New("the agent can only be asked to list keys and to sign")

// signer lets a step list keys and sign, and nothing else: it shall not be able
// to add, remove or lock keys of the person who builds.
type signer struct{ agent.Agent }

func (signer) Add(agent.AddedKey) error       { return errReadOnly }
func (signer) Remove(ssh.PublicKey) error     { return errReadOnly }
func (signer) RemoveAll() error               { return errReadOnly }
func (signer) Lock([]byte) error              { return errReadOnly }
func (signer) Unlock([]byte) error            { return errReadOnly }
func (signer) Signers() ([]ssh.Signer, error) { return nil, errReadOnly }

// serve answers one connection of a step.
func (a Agent) serve(c net.Conn, keys agent.Agent) {
	defer c.Close()
	if keys == nil {
		upstream, err := net.Dial("unix", a.Socket)
		if err != nil {
			return // the step sees its connection end
		}
		defer upstream.Close()
		keys = agent.NewClient(upstream)
	}
	_ = agent.ServeAgent(signer{keys}, c) // ends with the connection
}

// load reads the keys; nil if there is a socket.
func (a Agent) load() (agent.Agent, error) {
	if a.Socket != "" {
		return nil, nil //nolint:nilnil // serve connects
	}
	ring := agent.NewKeyring()
	for _, k := range a.Keys {
		name := k.Name
		key, err := ssh.ParseRawPrivateKey(k.data)
		if _, ok := errors.AsType[*ssh.PassphraseMissingError](err); ok {
			return nil, hint.With(fmt.Errorf("key %s: it has a passphrase", visible.Line(name)), "add it to an ssh agent, and use the agent with --ssh default")
		}
		if err != nil {
			return nil, fmt.Errorf("key %s: %w", visible.Line(name), err)
		}
		if err := ring.Add(agent.AddedKey{PrivateKey: key}); err != nil {
			return nil, fmt.Errorf("key %s: %w", visible.Line(name), err)
		}
	}
	return ring, nil
}

// agent shows an agent's socket, for as long as the step runs.
func (p *preparer) agent(m *dockerfile.Mount) error {
	a, ok := p.step.stage.b.Agents[m.ID]
	if !ok {
		if !m.Required {
			return nil
		}
		return hint.With(fmt.Errorf("ssh agent %s: not found", visible.Line(m.ID)), "provide it with --ssh "+visible.Line(m.ID)+"[=SOCKET|KEY]")
	}
	keys, err := a.load()
	if err != nil {
		return err
	}
	at, err := p.inMemory()
	if err != nil {
		return err
	}
	l, err := listen(at)
	if err != nil {
		return fmt.Errorf("ssh agent %s: %w", visible.Line(m.ID), err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return // closed: the step is over
			}
			go a.serve(c, keys)
		}
	})
	p.step.undo = append(p.step.undo, func() error {
		err := l.Close()
		serving.Wait()
		return err
	})
	if err := p.own(m, at, m.Perm(0o600)); err != nil {
		return err
	}
	p.add(m, at)
	p.env = append(p.env, "SSH_AUTH_SOCK="+m.Target)
	return nil
}

// listen makes a socket at a path that may be too long for an address.
func listen(at string) (*net.UnixListener, error) {
	dir, err := os.Open(filepath.Dir(at))
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	name := "/proc/self/fd/" + strconv.Itoa(int(dir.Fd())) + "/" + filepath.Base(at)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: name})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	return l, nil
}
