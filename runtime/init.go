// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"os"
	goruntime "runtime"

	"github.com/opencontainers/runc/libcontainer"
)

// Init is a container's init up to the execution of the user's program.
// Preconditions: nothing else has run in this process, whose C code has already
// entered the container's namespaces. It does not return.
func Init() {
	goruntime.LockOSThread()
	libcontainer.Init()
}

// OneThread has init run on one processor: libcontainer hands the variable on.
// What it does is sequential, and a scheduler that wakes threads for it and puts
// them to sleep costs 5 % of the CPU time of run and exec, see
// docs/performance.md. The user's program does not inherit it.
func OneThread() {
	_ = os.Setenv("GOMAXPROCS", "1") // cannot fail: the name is valid
}
