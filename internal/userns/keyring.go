// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package userns

import (
	"os/exec"
	goruntime "runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// startSharing starts a command with a session keyring that all of the user's
// sandboxes have in common, and reports whether it has it. The kernel lets a user
// have 200 keyrings (kernel.keys.maxkeys), and each session keyring is one.
//
// The keyring is empty and the user's; keys(7) says that only processes that have
// it, and those of the user, reach it. It must not be given to a program that may
// call keyctl(2): see seccomp.KeyCalls. Where there can be none the command has
// the caller's, as it would have otherwise.
func startSharing(cmd *exec.Cmd) (shared bool, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		// The session keyring is the thread's. The thread ends with this
		// goroutine, so nothing else ever runs with it.
		goruntime.LockOSThread()
		if shared = joinShared(); shared {
			err = cmd.Start()
		}
	}()
	<-done
	if !shared {
		err = cmd.Start()
	}
	return shared, err
}

// joinShared replaces the calling thread's session keyring.
func joinShared() bool {
	name := "_cpc." + strconv.Itoa(unix.Getuid())
	if _, err := unix.KeyctlJoinSessionKeyring(name); err != nil {
		return false // the kernel has none, or the user has used them up
	}
	// Another user can have made one of that name, for us to join.
	says, err := unix.KeyctlString(unix.KEYCTL_DESCRIBE, unix.KEY_SPEC_SESSION_KEYRING)
	if f := strings.SplitN(says, ";", 5); err != nil || len(f) < 3 || f[0] != "keyring" || f[1] != strconv.Itoa(unix.Getuid()) {
		_, err = unix.KeyctlJoinSessionKeyring("") // one that is nobody else's
		return err == nil
	}
	// A keyring is found by its name by those who may search it: the user's own.
	err = unix.KeyctlSetperm(unix.KEY_SPEC_SESSION_KEYRING, keyPossessorAll|keyUserView|keyUserRead|keyUserSearch|keyUserLink)
	return err == nil
}

// Rights of keys, from keyctl_setperm(3).
const (
	keyPossessorAll = 0x3f000000
	keyUserView     = 0x010000
	keyUserRead     = 0x020000
	keyUserSearch   = 0x080000
	keyUserLink     = 0x100000
)
