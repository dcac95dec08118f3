// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/hint"
	"github.com/claude-pocket-console/cpc/rootfs/layer"
	"github.com/claude-pocket-console/cpc/sandbox/files"
	"github.com/claude-pocket-console/cpc/sandbox/wire"
)

// serveFiles copies files into the sandbox or out of it. It ends with the client, or
// with the sandbox.
func (m *monitor) serveFiles(c *wire.Conn, req wire.RequestBody) error {
	if req.Files == nil {
		return errBadRequest
	}
	if m.history.paused() {
		return ErrPaused
	}
	if _, ok := m.execs.begin(); !ok {
		return errEnded
	}
	defer m.execs.wg.Done()
	order := *req.Files
	if order.User != "" {
		u, err := m.resolveUser(order.User)
		if err != nil {
			return err
		}
		order.Owner = &layer.Owner{UID: u.UID, GID: u.GID}
	}
	h, err := m.startFiles(order)
	if err != nil {
		return err
	}
	over := make(chan struct{})
	defer close(over)
	go func() {
		select {
		case <-m.program.exited:
			h.Kill()
			_ = c.SetWriteDeadline(time.Now().Add(tellTakes)) // it may not read
		case <-over:
		}
	}()
	if err := c.WriteJSON(wire.Started, wire.StartedBody{}); err != nil {
		h.Kill()
	}
	m.history.note(map[string]string{files.Get: "archive-path", files.Put: "extract-to-dir"}[order.Do], attributes{"path": order.Path})
	go func() {
		serveStream(c, tarInput{WriteCloser: h.In}, func(unix.Signal) {})
		h.Kill() // the client has left
	}()
	if _, err = io.Copy(frames{c}, h.Out); err != nil {
		h.Kill()
	}
	if err := errors.Join(h.Wait(), err); err != nil {
		return err
	}
	return c.WriteJSON(wire.Exit, wire.ExitBody{})
}

func (m *monitor) startFiles(o files.Order) (*files.Helper, error) {
	root, err := m.sandboxRoot()
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return files.Start(o, files.Launch{Root: root, Mapping: m.input.Mapping, Enter: m.limits.planned().Enter})
}

// errOtherRoot reports a runtime in whose sandbox files cannot be reached.
var errOtherRoot = hint.New("the files of the sandbox cannot be reached from outside",
	"Its OCI runtime keeps them to itself. Copy with tar: cpc exec NAME tar c DIRECTORY | tar x")

// sandboxRoot opens the root directory of the sandbox, in its mount namespace. It is that
// of init, and what the monitor has mounted: not another one that init has chosen.
func (m *monitor) sandboxRoot() (*os.File, error) {
	root, err := os.OpenFile(fmt.Sprintf("/proc/%d/root", m.program.proc.PID()), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("root directory of the sandbox: %w", err)
	}
	there, err := root.Stat()
	if err == nil {
		var ours os.FileInfo
		if ours, err = os.Stat(m.root.path); err == nil && !os.SameFile(there, ours) {
			err = errOtherRoot
		}
	}
	if err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return root, nil
}

// tarInput is the input of a helper, which has no terminal.
type tarInput struct {
	io.WriteCloser
	window
}

func (t tarInput) Input(p []byte) error {
	_, err := t.Write(p)
	return err
}

func (t tarInput) EndInput() { _ = t.Close() }

// Resize is for terminals.
func (tarInput) Resize(wire.Size) {}
