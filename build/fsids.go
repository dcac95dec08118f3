// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package build

import (
	"fmt"
	goruntime "runtime"

	"github.com/claude-pocket-console/cpc/internal/idmap"
	"golang.org/x/sys/unix"
)

// asSandboxRoot runs fn with the file system ids of the sandbox's root, so that
// files can be created in a tree whose upper layer is mounted idmapped: only
// ids of the mapping exist there, and the caller's own is not among them.
// Capabilities stay in force. Where the caller's id will do, as in U0, fn just
// runs and the files are given their owner afterwards.
//
// fn runs on a thread of its own that ends with it, so no other goroutine can
// ever run with these ids.
func asSandboxRoot(m idmap.Mapping, fn func() error) error {
	if !m.NeedsIDMappedLayers() {
		return fn()
	}
	root, err := m.ToCaller(0)
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() {
		// Not unlocked: the thread is thrown away with its ids.
		goruntime.LockOSThread()
		if err := setFSIDs(int(root)); err != nil {
			done <- err
			return
		}
		done <- fn()
	}()
	return <-done
}

// setFSIDs changes the calling thread. Leaving fsuid 0 takes the file system
// capabilities out of the effective set; they are put back from the permitted
// one (capabilities(7), "Effect of user ID changes").
func setFSIDs(id int) error {
	if err := unix.Setfsgid(id); err != nil {
		return fmt.Errorf("set fsgid %d: %w", id, err)
	}
	if err := unix.Setfsuid(id); err != nil {
		return fmt.Errorf("set fsuid %d: %w", id, err)
	}
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return fmt.Errorf("read capabilities: %w", err)
	}
	for i := range data {
		data[i].Effective = data[i].Permitted
	}
	if err := unix.Capset(&hdr, &data[0]); err != nil {
		return fmt.Errorf("keep capabilities: %w", err)
	}
	// setfsuid(2) reports no error, so ask.
	if got, err := unix.SetfsuidRetUid(-1); err != nil || got != id {
		return fmt.Errorf("set fsuid %d: still %d", id, got)
	}
	return nil
}
