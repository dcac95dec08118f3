// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/idmap"
	"github.com/claude-pocket-console/cpc/sandbox/wire"
)

// tellTakes is how long whoever waits may take to hear of the end.
const tellTakes = time.Second

// control is how others reach the sandbox: the control socket, the cpc that started
// it, and whoever waits for its end. adopt opens it, close closes it.
type control struct {
	listener net.Listener
	owner    *wire.Conn
	unlock   func() // lets go of what says that this process looks after a sandbox

	hurry <-chan struct{} // closed when somebody has ended the sandbox
	order context.CancelFunc

	mu      sync.Mutex // guards what follows
	waiters []*wire.Conn
	end     *wire.ExitBody // how the sandbox ended, once it has
}

func newControl(l net.Listener, owner net.Conn, unlock func()) *control {
	hurry, order := context.WithCancel(context.Background())
	return &control{listener: l, owner: wire.New(owner), unlock: unlock, hurry: hurry.Done(), order: order}
}

// adopt takes the inherited files into use.
func adopt(mode idmap.Mode) (*control, error) {
	for fd := listenerFD; fd <= rangeFD; fd++ {
		unix.CloseOnExec(fd)
	}
	l, err := net.FileListener(os.NewFile(listenerFD, "control socket"))
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	c, err := net.FileConn(os.NewFile(ownerFD, "owner"))
	if err != nil {
		return nil, fmt.Errorf("owner socket: %w", err)
	}
	if _, ok := l.(*net.UnixListener); !ok {
		return nil, errors.New("control socket: not a unix socket")
	}
	return newControl(l, c, func() {
		_ = unix.Close(lockFD)
		if mode == idmap.Root {
			_ = unix.Close(rangeFD)
		}
	}), nil
}

// serve has handle serve the connections to the control socket, until that is
// closed.
func (c *control) serve(handle func(*wire.Conn)) {
	for {
		conn, err := c.listener.Accept()
		if err != nil {
			return
		}
		go handle(wire.New(conn))
	}
}

// addWaiter keeps a connection for the exit message. It reports false when
// the message has been sent already.
func (c *control) addWaiter(conn *wire.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.end != nil {
		_ = conn.WriteJSON(wire.Exit, wire.ExitBody{Code: c.end.Code, Reason: c.end.Reason})
		return false
	}
	c.waiters = append(c.waiters, conn)
	return true
}

// ordered reports whether somebody has ended the sandbox.
func (c *control) ordered() bool {
	select {
	case <-c.hurry:
		return true
	default:
		return false
	}
}

// close takes no more connections and lets go of the sandbox.
func (c *control) close() {
	_ = c.listener.Close()
	c.unlock()
}

// tellEnd closes the control and tells everybody how the sandbox ended. It returns
// when all have heard it, those included who still read what its programs have
// written.
func (c *control) tellEnd(end wire.ExitBody, out *fanout, others *execs) {
	c.mu.Lock()
	c.end = &end
	waiters, clients := c.waiters, out.end()
	c.mu.Unlock()
	c.close()
	var wg sync.WaitGroup
	for _, w := range waiters {
		wg.Go(func() {
			_ = w.SetWriteDeadline(time.Now().Add(tellTakes))
			_ = w.WriteJSON(wire.Exit, end)
			_ = w.Close()
		})
	}
	for _, s := range clients {
		s.end(end)
		wg.Go(func() { s.linger(c.hurry) })
	}
	wg.Wait()
	others.linger(c.hurry)
}
