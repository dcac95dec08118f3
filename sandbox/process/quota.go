// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package process

import (
	"fmt"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/capability"
	"github.com/claude-pocket-console/cpc/internal/dockerflag"
	"github.com/claude-pocket-console/cpc/internal/idmap"
)

// Bound sees to it that what an rlimit allows an id of the sandbox is all that
// its ids have together. The kernel takes a new user namespace's bound from the
// soft limits of the process that makes it (kernel/user_namespace.c, Linux 5.14),
// which inherits them from this one, whose hard limits stay.
//
// As root that bound would be for what all sandboxes have together, unless the
// runtime makes the sandbox's range the owner of its user namespace: cpc-runtime does,
// given CAP_SYS_RESOURCE.
func Bound(p *specs.Process, mode idmap.Mode, runtime string) error {
	if mode == idmap.Root && (!IsOwn(runtime) || !capability.Effective(unix.CAP_SYS_RESOURCE)) {
		return nil
	}
	for _, l := range p.Rlimits {
		switch l.Type {
		case "RLIMIT_MEMLOCK", "RLIMIT_MSGQUEUE", "RLIMIT_SIGPENDING":
		default:
			continue // what this process and the runtime need, too
		}
		resource := dockerflag.Rlimits()[l.Type]
		var r unix.Rlimit
		if err := unix.Getrlimit(resource, &r); err != nil {
			return fmt.Errorf("%s: %w", l.Type, err)
		}
		r.Cur = min(l.Hard, r.Max)
		if err := unix.Setrlimit(resource, &r); err != nil {
			return fmt.Errorf("%s: %w", l.Type, err)
		}
	}
	return nil
}
