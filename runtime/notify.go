// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/procstat"
)

const (
	notifyInside  = "/run/notify" // in the container, with the socket in it
	notifySocket  = "notify.sock"
	notifyBarrier = 30 * time.Second // for a service manager that knows no barriers
)

// notifier tells the service manager that started this process, see
// sd_notify(3), when the container says that it is ready. A nil one does
// nothing. The container reaches a socket of its own: only the one word READY
// gets through, never a descriptor or another variable.
type notifier struct {
	manager string // address of the service manager's socket
	dir     string // holds the container's socket
	conn    *net.UnixConn
}

// notifierFor returns nil when no service manager wants to know.
func notifierFor(root, id string) *notifier {
	address := os.Getenv("NOTIFY_SOCKET")
	if address == "" {
		return nil
	}
	return &notifier{manager: address, dir: filepath.Join(root, id, "notify")}
}

// addTo shows the socket to the container.
func (n *notifier) addTo(spec *specs.Spec) {
	if n == nil {
		return
	}
	spec.Mounts = append(spec.Mounts, specs.Mount{
		Destination: notifyInside, Source: n.dir, Type: "bind",
		Options: []string{"bind", "nosuid", "noexec", "nodev", "ro"},
	})
	spec.Process.Env = append(spec.Process.Env, "NOTIFY_SOCKET="+notifyInside+"/"+notifySocket)
}

func (n *notifier) makeDir() error {
	if n == nil {
		return nil
	}
	if err := os.Mkdir(n.dir, 0o755); err != nil {
		return err
	}
	return os.Chmod(n.dir, 0o755)
}

// listen makes the socket, which the container's processes may write to.
func (n *notifier) listen() error {
	if n == nil {
		return nil
	}
	dir, err := os.OpenFile(n.dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("notify socket: %w", err)
	}
	defer func() { _ = dir.Close() }()
	// By descriptor, for a path may be too long for a socket's address.
	path := fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), notifySocket)
	n.conn, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err == nil {
		err = os.Chmod(path, 0o777)
	}
	if err != nil {
		return fmt.Errorf("notify socket: %w", err)
	}
	return nil
}

func (n *notifier) close() {
	if n != nil && n.conn != nil {
		_ = n.conn.Close()
	}
}

// forward waits until the container is ready, and says so with main as the
// process to watch; it gives up when the process watched has ended.
func (n *notifier) forward(watched, main int) error {
	if n == nil {
		return nil
	}
	for n.ready() == nil {
		if unix.Kill(watched, 0) == unix.ESRCH || zombie(watched) {
			return nil
		}
	}
	if err := n.tell(main); err != nil {
		return fmt.Errorf("notify %s: %w", n.manager, err)
	}
	return nil
}

func zombie(pid int) bool {
	stat, err := procstat.Read(pid)
	return err == nil && stat.State == 'Z'
}

// ready returns the line that says so, or nil if none came for a moment.
func (n *notifier) ready() []byte {
	_ = n.conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	buf := make([]byte, 4096)
	size, err := n.conn.Read(buf)
	if err != nil {
		return nil
	}
	for line := range bytes.SplitSeq(buf[:size], []byte("\n")) {
		if bytes.Equal(line, []byte("READY=1")) {
			return line
		}
	}
	return nil
}

// tell passes the news on, and waits until the service manager has taken them:
// it looks up the sender, which must still be there then.
func (n *notifier) tell(main int) error {
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: n.manager, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	for _, message := range []string{"READY=1\n", "MAINPID=" + strconv.Itoa(main) + "\n"} {
		if _, err := conn.Write([]byte(message)); err != nil {
			return err
		}
	}
	return barrier(conn)
}

// barrier sends one end of a pipe, and waits until it is closed.
func barrier(conn *net.UnixConn) error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	raw, err := conn.SyscallConn()
	if err == nil {
		cerr := raw.Control(func(fd uintptr) {
			err = unix.Sendmsg(int(fd), []byte("BARRIER=1"), unix.UnixRights(int(w.Fd())), nil, 0)
		})
		err = errors.Join(err, cerr)
	}
	if err := errors.Join(err, w.Close()); err != nil {
		return err
	}
	if err := r.SetReadDeadline(time.Now().Add(notifyBarrier)); err != nil {
		return err
	}
	switch _, err := r.Read(make([]byte, 1)); {
	case errors.Is(err, io.EOF):
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		logrus.Warnf("notify: no answer to the barrier within %v", notifyBarrier)
		return nil
	case err != nil:
		return err
	}
	return errors.New("unexpected answer to the barrier")
}
