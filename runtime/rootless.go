// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/moby/sys/userns"
	"github.com/opencontainers/cgroups/systemd"
	"golang.org/x/sys/unix"
)

// rootlessCgroups says whether cgroups that may not be written are to be left
// alone rather than fail the container.
func (r Runtime) rootlessCgroups() (bool, error) {
	if r.Rootless != "" && !strings.EqualFold(r.Rootless, "auto") {
		b, err := strconv.ParseBool(r.Rootless)
		if err != nil {
			return false, fmt.Errorf("rootless %q: want true, false or auto", r.Rootless)
		}
		return b, nil
	}
	if os.Geteuid() != 0 {
		return true, nil
	}
	if !userns.RunningInUserNS() {
		return false, nil
	}
	if r.SystemdCgroup {
		// A systemd that runs as root of this very user namespace is as good
		// as real root's; when it does not answer, assume that it is.
		owner, err := systemd.DetectUID()
		return err == nil && owner != 0, nil
	}
	return true, nil
}

// DefaultRoot returns the state directory used without --root: below
// XDG_RUNTIME_DIR for anyone but real root.
func DefaultRoot() string {
	dir := os.Getenv("XDG_RUNTIME_DIR")
	if dir != "" && (os.Geteuid() != 0 || userns.RunningInUserNS() && !ownsRun()) {
		return dir + "/cpc-runtime"
	}
	return "/run/cpc-runtime"
}

// ownsRun tells root of a container from a user in a user namespace, whose USER may
// be root's all the same: runuser and setpriv leave it as it was.
func ownsRun() bool {
	return os.Getenv("USER") == "root" && unix.Access("/run", unix.W_OK) == nil
}

// errNoCgroup is added to an error that lacking rights on cgroups explain.
var errNoCgroup = errors.New("the caller may not write this cgroup; delegate it, or use --rootless=true")
