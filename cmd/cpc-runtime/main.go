// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Command cpc-runtime is the OCI runtime of cpc, see package runtime. It is
// also the init of a container before the user's program is executed, and the
// small reaper that cpc run --init puts in front of that program.
package main

import (
	"os"

	// Lets libcontainer's C code enter namespaces before Go starts.
	_ "github.com/opencontainers/runc/libcontainer/nsenter"

	"github.com/claude-pocket-console/cpc/runtime"
	"github.com/claude-pocket-console/cpc/runtime/reaper"
)

func main() {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "init":
			runtime.Init()
		case "reaper":
			os.Exit(reaper.Main(os.Args[2:]))
		}
	}
	runtime.OneThread()
	os.Exit(dispatch(os.Args[1:]))
}
