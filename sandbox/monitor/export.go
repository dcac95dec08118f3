// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"context"
	"time"

	"github.com/claude-pocket-console/cpc/rootfs"
	"github.com/claude-pocket-console/cpc/sandbox/wire"
)

// serveExport sends the sandbox's root file system as a tar, while it runs. It
// ends with the client, or with the sandbox, whose mount is then gone.
func (m *monitor) serveExport(c *wire.Conn) error {
	if err := c.WriteJSON(wire.Started, wire.StartedBody{}); err != nil {
		return nil // whoever it was has left
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-m.program.exited:
			cancel()
			_ = c.SetWriteDeadline(time.Now().Add(tellTakes)) // it may not read
		case <-ctx.Done():
		}
	}()
	if err := rootfs.ExportTree(ctx, frames{c}, m.root.path, m.task.Record.Mapping); err != nil {
		return err
	}
	return c.WriteJSON(wire.Exit, wire.ExitBody{})
}

// frames writes a stream as Stdout frames.
type frames struct{ c *wire.Conn }

func (f frames) Write(p []byte) (n int, err error) {
	for n < len(p) {
		chunk := p[n:min(len(p), n+wire.ChunkSize)]
		if err := f.c.WriteFrame(wire.Stdout, chunk); err != nil {
			return n, err
		}
		n += len(chunk)
	}
	return n, nil
}
