// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package bundle

import (
	"fmt"
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// ExecOptions is a further program in a sandbox that runs already.
type ExecOptions struct {
	Args    []string
	Env     []string // on top of the sandbox's
	Workdir string   // "": the sandbox's
	TTY     bool
	// Terminal is one that the image knows.
	Terminal Terminal
	User     ResolvedUser
}

// Exec returns the process of a further program in the sandbox that in was
// planned from: the same limits, capabilities and environment, another command.
func Exec(in Input, o ExecOptions) (*specs.Process, error) {
	none := ""
	in.Entrypoint, in.Args, in.Options.Init = &none, o.Args, false
	in.Env = slices.Concat(in.Env, o.Env)
	in.TTY, in.Terminal = o.TTY, o.Terminal
	in.User = o.User
	if o.Workdir != "" {
		in.Workdir = o.Workdir
	}
	process, err := in.process()
	if err != nil {
		return nil, fmt.Errorf("plan exec: %w", err)
	}
	return process, nil
}
