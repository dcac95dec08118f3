// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Package userns starts copies of cpc in the namespaces that cpc works in, and
// finds the ids that it may use there.
//
// Theory of operation. An ordinary user's copy is cloned into a new user
// namespace (U0), mount namespace and pid namespace. It keeps its capabilities
// over the exec as ambient ones, because its uid is not mapped yet when exec
// looks for root. The parent then has newuidmap and newgidmap write the
// mappings, and only after that sends the hand-off message for which the child
// waits. Root's copy gets a mount and a pid namespace and no user namespace.
//
// The child is pid 1 of its pid namespace: when it dies, by whatever signal,
// the kernel kills all that it started, and with the mount namespace every
// mount it made goes too.
package userns

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/handoff"
	"github.com/claude-pocket-console/cpc/internal/hint"
	"github.com/claude-pocket-console/cpc/internal/idmap"
)

const disabledHint = `Allow them, as root:
  sysctl -w user.max_user_namespaces=65536
  sysctl -w kernel.unprivileged_userns_clone=1                # Debian's switch, where it exists
  cpc setup                                                   # AppArmor's profile for cpc (Ubuntu 24.04)
  sysctl -w kernel.apparmor_restrict_unprivileged_userns=0    # or all programs, where it exists
To see what is missing on this machine: cpc doctor`

// ErrDisabled reports that the kernel or its configuration refuses new user
// namespaces to this user.
var ErrDisabled = hint.New("the host does not let this user create user namespaces",
	disabledHint)

// Child describes the copy of cpc to start.
type Child struct {
	Role string   // the hand-off role, which is also its first argument
	Args []string // what `ps` shows after the role
	// Body makes the message, once the child's mappings are in place; pid is
	// the child's, which waits for it.
	Body  func(pid int) (any, error)
	Files []*os.File // from handoff.FirstFile on
	// Detached children get a session of their own and no standard streams;
	// the others have the parent's, and die with it.
	Detached bool
	Stderr   *os.File // for a detached child; nil means /dev/null
	// SharesKeyring, if not nil, asks for the session keyring that the user's
	// sandboxes have in common, of a detached child, and is set to whether it has
	// it before Body is called.
	SharesKeyring *bool
	IDs           IDs
}

// Start starts the child and hands over to it. The child of an attached kind
// is killed when the calling thread ends: call it with the thread locked.
func Start(c Child) (*exec.Cmd, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", c.Role, err)
	}
	defer w.Close()
	cmd, err := c.command(r)
	if err != nil {
		_ = r.Close()
		return nil, err
	}
	if c.SharesKeyring != nil && c.Detached { // others die with the thread that starts them
		*c.SharesKeyring, err = startSharing(cmd)
	} else {
		err = cmd.Start()
	}
	_ = r.Close()
	if err != nil {
		return nil, cloneError(c.Role, err)
	}
	if err := c.handOver(cmd.Process.Pid, w); err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		return nil, err
	}
	return cmd, nil
}

func (c Child) handOver(pid int, w *os.File) error {
	if err := writeMappings(pid, c.IDs); err != nil {
		return err
	}
	body, err := c.Body(pid)
	if err != nil {
		return err
	}
	return handoff.Send(w, c.Role, body)
}

func (c Child) command(message *os.File) (*exec.Cmd, error) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = append([]string{"cpc", c.Role}, c.Args...)
	cmd.ExtraFiles = append([]*os.File{message}, c.Files...)
	attr := &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID}
	if c.IDs.Mode != idmap.Root {
		caps, err := allCapabilities()
		if err != nil {
			return nil, err
		}
		attr.Cloneflags |= unix.CLONE_NEWUSER
		attr.AmbientCaps = caps
	}
	if c.Detached {
		attr.Setsid = true
		cmd.Dir = "/"
		if c.Stderr != nil {
			cmd.Stderr = c.Stderr
		}
	} else {
		attr.Pdeathsig = unix.SIGKILL
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	}
	cmd.SysProcAttr = attr
	return cmd, nil
}

// allCapabilities lists every capability that the running kernel has.
func allCapabilities() ([]uintptr, error) {
	const file = "/proc/sys/kernel/cap_last_cap"
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read capabilities: %w", err)
	}
	last, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil || last < 0 || last > 63 {
		return nil, fmt.Errorf("read capabilities: %s says %q", file, raw)
	}
	caps := make([]uintptr, last+1)
	for i := range caps {
		caps[i] = uintptr(i)
	}
	return caps, nil
}

// cloneError tells a host that refuses user namespaces from other failures.
func cloneError(role string, err error) error {
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EACCES) {
		return fmt.Errorf("start %s: %w (%w)", role, ErrDisabled, err)
	}
	return fmt.Errorf("start %s: %w", role, err)
}

func writeMappings(pid int, ids IDs) error {
	switch ids.Mode {
	case idmap.Root:
		return nil
	case idmap.Mapped:
		if err := runHelper("newuidmap", pid, os.Getuid(), ids.UID); err != nil {
			return err
		}
		return runHelper("newgidmap", pid, os.Getgid(), ids.GID)
	case idmap.Single:
		return writeSingle(pid)
	}
	return fmt.Errorf("map ids: unknown mode %q", ids.Mode)
}

// runHelper maps 0 to the user itself and 1 to 65536 to its range.
func runHelper(helper string, pid, self int, r Range) error {
	n := strconv.Itoa
	out, err := exec.Command(helper, n(pid), "0", n(self), "1", "1", n(r.First), n(idmap.Size)).CombinedOutput() //nolint:gosec // fixed program, numbers only
	if err != nil {
		return fmt.Errorf("map ids with %s: %w: %s", helper, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// writeSingle maps 0 to the user. The kernel allows a user to do that alone
// once setgroups is given up (user_namespaces(7)).
func writeSingle(pid int) error {
	dir := "/proc/" + strconv.Itoa(pid) + "/"
	for _, w := range []struct{ file, text string }{
		{"setgroups", "deny"},
		{"uid_map", fmt.Sprintf("0 %d 1\n", os.Getuid())},
		{"gid_map", fmt.Sprintf("0 %d 1\n", os.Getgid())},
	} {
		if err := os.WriteFile(dir+w.file, []byte(w.text), 0); err != nil {
			return fmt.Errorf("map ids: %w: %w", ErrDisabled, err)
		}
	}
	return nil
}
