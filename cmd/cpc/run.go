// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/claude-pocket-console/cpc/internal/terminal"
	"github.com/claude-pocket-console/cpc/netns/policy"
	"github.com/claude-pocket-console/cpc/sandbox"
	"github.com/claude-pocket-console/cpc/sandbox/bundle"
	"github.com/claude-pocket-console/cpc/sandbox/network"
	"github.com/claude-pocket-console/cpc/sandbox/wire"
)

func (a sandboxCommands) runCommand() *cobra.Command {
	f := &runFlags{}
	cmd := &cobra.Command{
		Use:   "run [OPTIONS] IMAGE [COMMAND] [ARG...]",
		Short: "Run a command in a new sandbox",
		Long: `Create a sandbox from an image and run a command in it. The image is pulled if it is
not in the store.

By default the sandbox has these properties (--profile work has others, for development):

  limits    2 GiB of memory, one CPU, 100 processes
  files     a read-only root file system; an empty home and /tmp in memory
  network   only package repositories and documentation sites (see --egress)
  user      the user of the image, or uid 1000 if the image names none

The exit status is that of the command. It is 125 if cpc fails, 126 if the command
cannot be executed, and 127 if the command is not found.`,
		Example: `  cpc run -it --rm claude-pocket-console/sandbox:latest
  cpc run --rm --memory 512m --cpus 0.5 debian:trixie-slim sh -c 'echo hello'`,
		Args: wants(1, many),
		RunE: func(cmd *cobra.Command, args []string) error { return a.run(cmd, f, args) },
	}
	f.register(cmd.Flags())
	cmd.Flags().StringVar(&f.platform, "platform", os.Getenv("DOCKER_DEFAULT_PLATFORM"), "Use the image for `OS/ARCH`; qemu emulates another architecture (default: that of the host)")
	return cmd
}

// prepareRun makes sense of the command line and finds the image, and warns of
// what a person should know before a sandbox runs.
func (a sandboxCommands) prepareRun(cmd *cobra.Command, f *runFlags, args []string) (e *sandbox.Engine, req sandbox.RunRequest, err error) {
	if f.net.egress.Config, err = a.configuration(); err != nil {
		return nil, req, err
	}
	if req, err = f.request(cmd.Flags(), args); err != nil {
		return nil, req, usageError{err}
	}
	if e, err = a.engine(); err != nil {
		return nil, req, err
	}
	a.quiet = f.more.quiet
	img, err := a.findImage(cmd.Context(), req.Image, f.pull, f.platform)
	if err != nil {
		return nil, req, err
	}
	req.ImageDigest = img.Digest.String()
	if req.Options.Network == bundle.NetworkAllowlist {
		if req.Network.Policy, err = f.net.egress.Policy(img.Config.Config.Labels[policy.Label]); err != nil {
			return nil, req, err
		}
		req.Network.Asked = f.net.egress.Asked(req.Network.Policy)
		f.net.egress.NoteHosts(req.Network)
	}
	if req.Options.TTY && req.Stdin && !req.Detach && !terminal.Is(os.Stdin) {
		return nil, req, errors.New("standard input is not a terminal; leave out -t to pipe into the sandbox")
	}
	if rows, cols, ok := terminal.Size(os.Stdin, os.Stdout, os.Stderr); ok {
		req.Size = &wire.Size{Rows: rows, Cols: cols}
	}
	a.warn(e, req)
	f.net.tell(cmd.CommandPath())
	return e, req, nil
}

func (a sandboxCommands) run(cmd *cobra.Command, f *runFlags, args []string) error {
	keys, err := f.keys()
	if err != nil {
		return usageError{err}
	}
	e, req, err := a.prepareRun(cmd, f, args)
	if err != nil {
		return err
	}
	busy := working("Starting the sandbox", a.quiet)
	req.Busy = busy.step
	s, err := f.start(cmd.Context(), e, req)
	busy.end()
	if err != nil {
		return err
	}
	for _, note := range s.Notes {
		fmt.Fprintln(stderr(), "cpc run: note:", note)
	}
	if !req.DryRun {
		a.tellReady(s, req)
		defer a.tellEnd(req)
	}
	return f.follow(a.app, e, s, req, keys)
}

// tellReady tells systemd that the program runs and, where this process is not
// going to stay, who looks after it from now on. That nobody listens is no
// reason to end a sandbox; systemd does that, if it waits.
func (a sandboxCommands) tellReady(s *sandbox.Session, req sandbox.RunRequest) {
	told := []string{"READY=1", fmt.Sprintf("STATUS=sandbox %s of %s is running, process %d", s.Name, req.Image, s.PID)}
	if req.Detach {
		told = append(told, fmt.Sprintf("MAINPID=%d", s.MonitorPID))
	}
	if err := a.systemd.Send(told...); err != nil {
		fmt.Fprintln(stderr(), "cpc run: warning:", err)
	}
}

// tellEnd tells systemd that this process ends with its sandbox.
func (a sandboxCommands) tellEnd(req sandbox.RunRequest) {
	if !req.Detach {
		_ = a.systemd.Send("STOPPING=1") // the exit status says the same
	}
}

// start starts the sandbox and writes its id to the --cidfile, which is made
// first, so that no sandbox runs that could not be written down.
func (f *runFlags) start(ctx context.Context, e *sandbox.Engine, req sandbox.RunRequest) (*sandbox.Session, error) {
	if f.cidfile == "" || f.dryRun {
		return e.Run(ctx, req)
	}
	file, err := os.OpenFile(filepath.Clean(f.cidfile), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644) //nolint:gosec // an id is no secret
	if err != nil {
		return nil, flagError("--cidfile", err)
	}
	s, err := e.Run(ctx, req)
	if err != nil {
		return nil, errors.Join(err, file.Close(), os.Remove(file.Name()))
	}
	_, err = file.WriteString(s.ID)
	if err = errors.Join(err, file.Close()); err != nil {
		return nil, errors.Join(flagError("--cidfile", err), s.Close(), e.Remove(context.WithoutCancel(ctx), s.ID, true))
	}
	return s, nil
}

// warn says what a person should know before the sandbox runs.
func (a sandboxCommands) warn(e *sandbox.Engine, req sandbox.RunRequest) {
	if req.Options.Network == bundle.NetworkHost {
		fmt.Fprintln(stderr(), "cpc run: warning: --network host lets the sandbox reach everything that this host reaches")
	}
	if e.IDs.Reason != nil {
		_, hint := explain(e.IDs.Reason)
		fmt.Fprintf(stderr(), "cpc run: warning: the sandbox has one user id only: %v\n%s\n", e.IDs.Reason, hint)
	}
}

// follow stays with the sandbox as long as the person wants to.
func (f *runFlags) follow(a *app, e *sandbox.Engine, s *sandbox.Session, req sandbox.RunRequest, keys []byte) error {
	if req.DryRun {
		return printJSON(stdout(), s.Bundle)
	}
	defer s.Close()
	if req.Detach {
		_, err := fmt.Fprintln(stdout(), s.ID)
		return err
	}
	c, done, err := f.more.connection(s, req.Stdin)
	if err != nil {
		return err
	}
	defer done()
	c.keys, c.left = keys, endsSandbox
	exit, err := sandboxCommands{a}.connect(s, c)
	if errors.Is(err, sandbox.ErrMonitorGone) {
		return errors.Join(err, e.SweepDead(s.ID))
	}
	if errors.Is(err, sandbox.ErrDetached) {
		fmt.Fprintf(stderr(), "cpc run: detached; %s is still running. Attach again with: cpc attach %s\n", s.Name, s.Name)
	}
	if err != nil {
		return ended(err)
	}
	_ = s.AwaitEnd()
	tellReason(stderr(), "cpc run", s.Name, exit.Reason)
	// Also after success: a shell, or a script that went on, ends well all the same.
	network.TellRefusals(stderr(), exit.Refusals, network.Hint{Who: "the sandbox", Command: "cpc run", Asked: req.Network.Asked})
	return status(exit)
}

// status makes a program's end this program's.
func status(exit wire.ExitBody) error {
	if exit.Code == 0 {
		return nil
	}
	return exitStatus(exit.Code)
}
