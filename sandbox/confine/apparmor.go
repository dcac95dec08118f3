// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Package confine finds out how a sandbox's processes can be confined by the
// host's security modules, AppArmor or SELinux, and reads back what the kernel
// says of them.
//
// The runtime applies both (process.apparmorProfile and selinuxLabel of the
// OCI specification), at the exec of the sandbox's program. A profile that was
// asked for by name is applied or the start fails; the default one is applied
// where it is loaded.
package confine

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/deploy/apparmor"
	"github.com/claude-pocket-console/cpc/internal/hint"
)

const (
	// DefaultProfile is the AppArmor profile of a sandbox, if it is loaded.
	DefaultProfile = apparmor.Sandbox
	// Unconfined is the AppArmor label of a process without a profile.
	Unconfined = "unconfined"
)

var (
	// ErrNoAppArmor reports a profile that was asked for by name on a host
	// without AppArmor.
	ErrNoAppArmor = hint.New("AppArmor is not enabled on this host",
		"Remove the option: profiles need a kernel with AppArmor enabled.")
	// ErrNotLoaded reports a profile that the kernel does not know.
	ErrNotLoaded = hint.New("the AppArmor profile is not loaded",
		"Load the profile as root with: apparmor_parser -r FILE. List the loaded profiles with: aa-status")
	// ErrNotConfined reports a program that runs under another label than the
	// one it was to have.
	ErrNotConfined = hint.New("the program is not confined as it was to be",
		"See the kernel log (dmesg) for denials by the policy of the host. Or the runtime ignores the profile or label.")
)

// AppArmorEnabled reports whether the kernel has AppArmor at work.
func AppArmorEnabled() bool {
	text, err := os.ReadFile("/sys/module/apparmor/parameters/enabled")
	return err == nil && len(text) > 0 && text[0] == 'Y'
}

// AppArmor returns the profile for process.apparmorProfile, where asked is ""
// for the default, "unconfined", or a name. The result is "" where AppArmor is
// not enabled or the default profile not loaded.
func AppArmor(asked string) (profile string, err error) {
	if !AppArmorEnabled() {
		if asked != "" && asked != Unconfined {
			return "", fmt.Errorf("apparmor=%s: %w", asked, ErrNoAppArmor)
		}
		return "", nil
	}
	if asked == Unconfined {
		return Unconfined, nil
	}
	name := asked
	if name == "" {
		name = DefaultProfile
	}
	err = tryProfile(name)
	switch {
	case err == nil:
		return name, nil
	case asked == "" && errors.Is(err, ErrNotLoaded):
		return "", nil
	}
	return "", fmt.Errorf("apparmor=%s: %w", name, err)
}

// tryProfile asks the kernel for the profile at the next exec of a thread that
// never execs: only root may read the list of the loaded ones.
func tryProfile(name string) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		f, err := openOwnExec()
		if err == nil {
			_, err = f.WriteString("exec " + name)
			err = errors.Join(err, f.Close())
		}
		result <- err
	}()
	err := <-result
	if errors.Is(err, unix.ENOENT) {
		return ErrNotLoaded
	}
	return err
}

func openOwnExec() (*os.File, error) {
	const flags = os.O_WRONLY
	f, err := os.OpenFile("/proc/thread-self/attr/apparmor/exec", flags, 0)
	if errors.Is(err, unix.ENOENT) { // before Linux 5.8
		f, err = os.OpenFile("/proc/thread-self/attr/exec", flags, 0)
	}
	return f, err
}

// appArmorLabel returns the label of a process, without its mode.
func appArmorLabel(pid int) (string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/attr/apparmor/current", pid))
	if errors.Is(err, unix.ENOENT) {
		text, err = os.ReadFile(fmt.Sprintf("/proc/%d/attr/current", pid))
	}
	return parseLabel(text), err
}

// parseLabel takes the mode off: "NAME (enforce)". A name may itself end in
// parentheses, and "unconfined" comes without a mode.
func parseLabel(text []byte) string {
	label := string(bytes.TrimRight(text, "\n\x00"))
	if i := strings.LastIndex(label, " ("); i >= 0 && strings.HasSuffix(label, ")") {
		label = label[:i]
	}
	return label
}

// readBackTime is how long a program may take from its start to its exec: the
// label comes with that.
const readBackTime = 5 * time.Second

// CheckAppArmor reads back whether a program that was just started runs under
// the profile. A program that has ended keeps its label until it is reaped.
func CheckAppArmor(pid int, profile string) error {
	return await("AppArmor", profile, func() (string, error) { return appArmorLabel(pid) })
}

// await returns when read returns the label that is wanted.
func await(module, want string, read func() (string, error)) error {
	pause := 100 * time.Microsecond
	for end := time.Now().Add(readBackTime); ; {
		label, err := read()
		if err != nil {
			return fmt.Errorf("read back the %s label: %w", module, err)
		}
		if label == want {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("%w: its %s label is %q, not %q", ErrNotConfined, module, label, want)
		}
		time.Sleep(pause)
		pause = min(2*pause, 20*time.Millisecond)
	}
}
