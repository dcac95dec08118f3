// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package terminal

import (
	"errors"
	"os"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/testkit"
)

// open returns both sides of a terminal. Reads of the master can be given a deadline.
func open(t *testing.T) (master, slave *os.File) {
	t.Helper()
	m, slave, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.FcntlInt(m.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err := errors.Join(err, m.Close()); err != nil {
		t.Fatal(err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		t.Fatal(err)
	}
	master = os.NewFile(uintptr(fd), m.Name())
	t.Cleanup(func() {
		_ = slave.Close()
		_ = master.Close()
	})
	return master, slave
}

func wantSize(t *testing.T, f *os.File, rows, cols uint16) {
	t.Helper()
	if r, c, ok := Size(f); r != rows || c != cols || ok != (rows > 0 && cols > 0) {
		t.Errorf("%d rows, %d columns, %t, want %d and %d", r, c, ok, rows, cols)
	}
}

func TestSize(t *testing.T) {
	master, slave := open(t)
	other, otherSlave := open(t)
	wantSize(t, slave, 0, 0)
	if err := errors.Join(Resize(master, 45, 123), InheritSize(slave, other)); err != nil {
		t.Fatal(err)
	}
	wantSize(t, slave, 45, 123)
	wantSize(t, otherSlave, 45, 123)
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if err := Resize(null, 1, 1); !errors.Is(err, unix.ENOTTY) {
		t.Errorf("size of what is no terminal: %v", err)
	}
	if err := InheritSize(null, master); !errors.Is(err, unix.ENOTTY) {
		t.Errorf("size from what is no terminal: %v", err)
	}
	wantSize(t, slave, 45, 123)
	testkit.KeepsNone(t, 0, func() {
		_ = Resize(master, 1, 2)
		_ = InheritSize(null, master)
	})
	if err := master.Close(); err != nil {
		t.Fatal(err)
	}
	if err := Resize(master, 1, 1); err == nil {
		t.Error("a closed terminal was given a size")
	}
}

// Reads that have begun end at their deadline after the size has changed.
func TestResizeKeepsDeadlines(t *testing.T) {
	master, slave := open(t)
	ended := make(chan error, 1)
	go func() {
		_, err := master.Read(make([]byte, 1))
		ended <- err
	}()
	if err := errors.Join(Resize(master, 45, 123), InheritSize(slave, master), master.SetReadDeadline(time.Now())); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
	case <-time.After(testkit.Patience):
		t.Fatal("a read goes on after its deadline")
	}
	if err := master.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	if _, err := slave.WriteString("x"); err != nil {
		t.Fatal(err)
	}
	if n, err := master.Read(make([]byte, 1)); n != 1 || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
}
