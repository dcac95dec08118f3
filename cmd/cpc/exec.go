// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/claude-pocket-console/cpc/internal/terminal"
	"github.com/claude-pocket-console/cpc/sandbox"
	"github.com/claude-pocket-console/cpc/sandbox/network"
	"github.com/claude-pocket-console/cpc/sandbox/wire"
)

type execFlags struct {
	interactive, tty, detach  bool
	user, workdir, detachKeys string
	env, envFiles             []string
}

func (a sandboxCommands) execCommand() *cobra.Command {
	f := &execFlags{}
	cmd := &cobra.Command{
		Use:   "exec [OPTIONS] SANDBOX COMMAND [ARG...]",
		Short: "Execute a command in a running sandbox",
		Args:  wants(2, many),
		RunE:  func(cmd *cobra.Command, args []string) error { return a.exec(cmd.Context(), f, args) },
	}
	fs := cmd.Flags()
	fs.SetInterspersed(false)
	fs.BoolVarP(&f.interactive, "interactive", "i", false, "Keep standard input open")
	fs.BoolVarP(&f.tty, "tty", "t", false, "Allocate a terminal")
	fs.BoolVarP(&f.detach, "detach", "d", false, "Run in the background")
	fs.StringVarP(&f.user, "user", "u", "", "`USER[:GROUP]` to run as (default: the user of the sandbox)")
	fs.StringVarP(&f.workdir, "workdir", "w", "", "Working `DIRECTORY`")
	fs.StringArrayVarP(&f.env, "env", "e", nil, "Set an environment variable: `NAME[=VALUE]`")
	fs.StringArrayVar(&f.envFiles, "env-file", nil, "Read environment variables from `FILE`")
	fs.StringVar(&f.detachKeys, "detach-keys", defaultKeys, "`KEYS` that detach from the terminal without ending the program")
	return cmd
}

func (a sandboxCommands) exec(ctx context.Context, f *execFlags, args []string) error {
	req := wire.ExecRequest{Args: args[1:], User: f.user, Workdir: f.workdir, TTY: f.tty, Detach: f.detach}
	if f.tty {
		req.Term, req.ColorTerm = os.Getenv("TERM"), os.Getenv("COLORTERM")
	}
	for _, file := range f.envFiles {
		env, err := readEnvFile(file)
		if err != nil {
			return usageError{flagError("--env-file", err)}
		}
		req.Env = append(req.Env, env...)
	}
	env, err := parseEnv(f.env)
	if err != nil {
		return usageError{err}
	}
	req.Env = append(req.Env, env...)
	keys, err := parseKeys(f.detachKeys)
	if err != nil {
		return usageError{err}
	}
	if f.tty && f.interactive && !f.detach && !terminal.Is(os.Stdin) {
		return errors.New("standard input is not a terminal; leave out -t to pipe into the command")
	}
	e, err := a.engine()
	if err != nil {
		return err
	}
	s, err := e.Exec(ctx, args[0], req, f.interactive && !f.detach, ourSize())
	if err != nil {
		return err
	}
	defer s.Close()
	if f.detach {
		return nil
	}
	exit, err := a.connect(s, connection{stdin: f.interactive, keys: keys, proxy: true, left: "it is ended"})
	if errors.Is(err, sandbox.ErrDetached) {
		fmt.Fprintf(stderr(), "cpc exec: detached; process %d of %s is still running. It cannot be attached again: cpc attach joins the first program of the sandbox\n", s.PID, s.Name)
	}
	if err != nil {
		return ended(err)
	}
	tellReason(stderr(), "cpc exec", "the command in "+s.Name, exit.Reason)
	network.TellRefusals(stderr(), exit.Refusals, network.Hint{
		Who: "the sandbox", Command: "cpc net allow " + s.Name, Adds: true,
	})
	return status(exit)
}

func ourSize() *wire.Size {
	rows, cols, ok := terminal.Size(os.Stdin, os.Stdout, os.Stderr)
	if !ok {
		return nil
	}
	return &wire.Size{Rows: rows, Cols: cols}
}

type attachFlags struct {
	detachKeys string
	noStdin    bool
}

func (a sandboxCommands) attachCommand() *cobra.Command {
	f := &attachFlags{}
	cmd := &cobra.Command{
		Use:   "attach [OPTIONS] SANDBOX",
		Short: "Attach to the program of a running sandbox",
		Args:  wants(1, 1),
		RunE:  func(cmd *cobra.Command, args []string) error { return a.attach(cmd.Context(), f, args[0]) },
	}
	fs := cmd.Flags()
	fs.StringVar(&f.detachKeys, "detach-keys", defaultKeys, "`KEYS` that detach from the terminal without ending the program")
	fs.BoolVar(&f.noStdin, "no-stdin", false, "Do not attach standard input")
	return cmd
}

func (a sandboxCommands) attach(ctx context.Context, f *attachFlags, name string) error {
	keys, err := parseKeys(f.detachKeys)
	if err != nil {
		return usageError{err}
	}
	e, err := a.engine()
	if err != nil {
		return err
	}
	s, err := e.Attach(ctx, name, ourSize())
	if err != nil {
		return err
	}
	defer s.Close()
	var asked []string // of the sandbox, whose record may be gone at its end
	if entry, err := e.Set.Find(s.ID); err == nil {
		asked = (&network.Egress{}).Asked(entry.Record.Asked.Network.Policy)
	}
	exit, err := a.connect(s, connection{stdin: !f.noStdin, keys: keys, proxy: !s.TTY, left: "it goes on"})
	if errors.Is(err, sandbox.ErrDetached) {
		fmt.Fprintf(stderr(), "cpc attach: detached; %s is still running. Attach again with: cpc attach %s\n", s.Name, s.Name)
	}
	if err != nil {
		return ended(err)
	}
	tellReason(stderr(), "cpc attach", s.Name, exit.Reason)
	network.TellRefusals(stderr(), exit.Refusals, network.Hint{Who: "the sandbox", Command: "cpc run", Asked: asked})
	return status(exit)
}
