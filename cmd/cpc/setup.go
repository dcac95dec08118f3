// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/claude-pocket-console/cpc/deploy/apparmor"
	"github.com/claude-pocket-console/cpc/host/setup"
	"github.com/claude-pocket-console/cpc/internal/terminal"
	"github.com/claude-pocket-console/cpc/sandbox/confine"
)

// setupRecord keeps what cpc setup has changed.
const setupRecord = "/var/lib/cpc/setup.json"

// setupFlags are the flags of cpc setup as they were typed.
type setupFlags struct {
	user                      string
	linger, yes, dryRun, undo bool
}

func (a systemCommands) setupCommand() *cobra.Command {
	f := &setupFlags{}
	cmd := &cobra.Command{
		Use: "setup [OPTIONS]", Short: "Prepare this machine for sandboxes (once, as root)", Args: wants(0, 0),
		Long: `Prepare this machine for the sandboxes of a user. The command does what only an
administrator can do: it makes systemd delegate cgroup controllers to users, gives
the user a range of subordinate ids, and loads the AppArmor profiles of cpc. All
sandboxes of the user share that range, and with it some quotas of the kernel
(SECURITY.md); as root each sandbox has its own ids.

The changes are shown first. Settings that exist are kept, and no file is
overwritten. The changes are recorded, and --undo reverts exactly those. cpc doctor
shows whether anything else is missing.`,
		Example: `  sudo cpc setup
  sudo cpc setup --user alice --linger --yes
  sudo cpc setup --undo`,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.setup(cmd) },
	}
	fs := cmd.Flags()
	fs.StringVar(&f.user, "user", "", "`NAME` of the user (default: the user who called sudo)")
	fs.BoolVar(&f.linger, "linger", false, "Keep the sandboxes of the user running after logout")
	fs.BoolVarP(&f.yes, "yes", "y", false, "Do not ask for confirmation")
	fs.BoolVar(&f.dryRun, "dry-run", false, "Only show what would change")
	fs.BoolVar(&f.undo, "undo", false, "Revert the changes; with --user only those for that user")
	return cmd
}

func (f *setupFlags) setup(cmd *cobra.Command) error {
	if os.Geteuid() != 0 && !f.dryRun {
		return errors.New("this changes the machine, so it needs root; run: sudo cpc setup (or see what it would do: cpc setup --dry-run)")
	}
	h := setup.Host{Record: setupRecord, Run: setup.Command}
	if f.undo {
		return f.takeBack(cmd, h)
	}
	r, err := f.request()
	if err != nil {
		return err
	}
	taken, err := h.Steps()
	if err != nil && !errors.Is(err, os.ErrPermission) { // a dry run sees no record
		return err
	}
	state, err := setup.Look(r, taken)
	if err != nil {
		return err
	}
	steps, err := setup.Plan(r, state)
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	if r.User == "" {
		fmt.Fprintln(stderr(), "cpc setup: no user is named, so subordinate ids are left out; add --user NAME")
	}
	if len(steps) == 0 {
		_, err := fmt.Fprintln(out, "nothing to do; see: cpc doctor")
		return err
	}
	if _, err := io.WriteString(out, describeSteps(steps)); err != nil || f.dryRun {
		return err
	}
	if err := f.agreed(cmd); err != nil {
		return err
	}
	warnings, err := h.Apply(steps)
	for _, w := range warnings {
		fmt.Fprintln(stderr(), "cpc setup: warning, in force at the next login or boot only:", w)
	}
	if err != nil {
		return fmt.Errorf("%w (cpc setup --undo takes back what was done)", err)
	}
	_, err = fmt.Fprintln(out, "done; to see what else there is, as the user: cpc doctor")
	return err
}

// request finds out for whom.
func (f *setupFlags) request() (setup.Request, error) {
	r := setup.Request{User: f.user, Linger: f.linger, Extra: profiles()}
	if r.User == "" {
		r.User = os.Getenv("SUDO_USER")
	}
	if r.User == "" && os.Geteuid() != 0 {
		if u, err := user.Current(); err == nil {
			r.User = u.Username
		}
	}
	if r.User == "" || r.User == "root" {
		r.User = ""
		if f.linger {
			return r, usageError{errors.New("--linger: whose? add --user NAME")}
		}
		return r, nil
	}
	u, err := user.Lookup(r.User)
	if err != nil {
		return r, fmt.Errorf("--user %s: %w", r.User, err)
	}
	r.UID, err = strconv.Atoi(u.Uid)
	return r, err
}

// profiles are the files of AppArmor's that a host with it should have.
func profiles() []setup.Step {
	if !confine.AppArmorEnabled() {
		return nil
	}
	var steps []setup.Step
	for _, p := range apparmor.Profiles() {
		path := "/etc/apparmor.d/" + p.Name
		steps = append(steps, setup.Step{
			Kind: setup.File, Path: path, Content: p.Text, Why: "the AppArmor profile " + p.Name,
			Then:   [][]string{{"apparmor_parser", "--replace", "--write-cache", path}},
			Unload: unloads(p),
		})
	}
	return steps
}

// unloads are the commands that take a file's profiles out of the kernel, the
// first one last: it is this program's own, and who has lost its profile may not
// remove others.
func unloads(p apparmor.Profile) [][]string {
	var commands [][]string
	for line := range strings.Lines(p.Text) {
		if rest, ok := strings.CutPrefix(line, "profile "); ok {
			name, _, _ := strings.Cut(rest, " ")
			commands = append([][]string{{"sh", "-c", `printf %s "$0" >/sys/kernel/security/apparmor/.remove`, name}}, commands...)
		}
	}
	return commands
}

func (f *setupFlags) takeBack(cmd *cobra.Command, h setup.Host) error {
	steps, err := h.ToUndo(f.user)
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	if len(steps) == 0 {
		_, err := fmt.Fprintln(out, "nothing to undo")
		return err
	}
	if f.dryRun {
		_, err := fmt.Fprint(out, "would take back:\n", describeUndoing(steps))
		return err
	}
	if _, err := fmt.Fprint(out, "taking back:\n", describeUndoing(steps)); err != nil {
		return err
	}
	if err := f.agreed(cmd); err != nil {
		return err
	}
	done, err := h.Undo(f.user)
	for _, text := range done {
		if _, err := fmt.Fprintln(out, text); err != nil {
			return err
		}
	}
	if err == nil && f.user == "" {
		_, err = fmt.Fprintln(out, "Sandboxes and images stay. Each user removes their own with: cpc system reset")
	}
	return err
}

func describeUndoing(steps []setup.Step) string {
	var b strings.Builder
	for i, s := range steps {
		fmt.Fprintf(&b, "%d. %s\n     (it was for this: %s)\n", i+1, s.Undoing(), s.Why)
	}
	return b.String()
}

func describeSteps(steps []setup.Step) string {
	var b strings.Builder
	for i, s := range steps {
		fmt.Fprintf(&b, "%d. %s\n", i+1, s.Why)
		for _, c := range s.Commands() {
			fmt.Fprintf(&b, "     %s\n", c)
		}
	}
	return b.String()
}

// agreed asks, at a terminal.
func (f *setupFlags) agreed(cmd *cobra.Command) error {
	if f.yes {
		return nil
	}
	if !terminal.Is(os.Stdin) {
		return errors.New("nothing was changed: there is no terminal to ask at; add --yes")
	}
	fmt.Fprint(stderr(), "Go on? [y/N] ")
	answer, err := bufio.NewReader(stdin(cmd.Context())).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if a := strings.ToLower(strings.TrimSpace(answer)); a != "y" && a != "yes" {
		return errors.New("nothing was changed")
	}
	return nil
}
