// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/claude-pocket-console/cpc/internal/hint"
	"github.com/claude-pocket-console/cpc/internal/visible"
	"github.com/claude-pocket-console/cpc/rootfs/store"
	"github.com/claude-pocket-console/cpc/sandbox"
	"github.com/claude-pocket-console/cpc/sandbox/record"
)

// besideStore are what others keep in the data directory: logs of sandboxes,
// advisories, and what a killed cpc doctor leaves.
var besideStore = []string{"sandboxes", "osv", "doctor-*"} //nolint:gochecknoglobals // a constant list

// errStillRunning reports that a reset would end sandboxes, errForeignIDs that
// something has an owner of whom this user has no id.
var (
	errStillRunning = hint.New("sandboxes are running",
		"Stop them with: cpc stop NAME; or end and remove them too, with: cpc system reset --force")
	errForeignIDs = hint.New("not everything could be removed",
		"Files of ids that you do not have now, only root can remove: sudo rm -rf DIRECTORY, with the data directory that cpc info names.")
)

const resetWarning = `all of your sandboxes
        - all images, with their unpacked layers
        - the build cache and its cache mounts
        - logs, events, and fetched advisories`

func (a systemCommands) resetCommand() *cobra.Command {
	var p pruning
	cmd := &cobra.Command{
		Use: "reset [OPTIONS]", Short: "Remove everything that cpc keeps for you: sandboxes, images, the build cache", Args: wants(0, 0),
		Long: `Remove everything that cpc keeps for the calling user: sandboxes, images, unpacked
layers, the build cache, logs, and the two directories that hold them (cpc info names
the data directory). This is the way to remove them: rm -rf cannot remove the files of
a user's images, which belong to subordinate ids. The configuration (config.toml) and
logins to registries stay.

The command asks first. It refuses while sandboxes run; with --force it does not ask,
and ends them.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if a.inside != nil {
				return a.resetStore(cmd)
			}
			return a.reset(cmd, &p)
		},
	}
	cmd.Flags().BoolVarP(&p.force, "force", "f", false, "Do not ask, and end running sandboxes")
	return cmd
}

// reset ends and removes the sandboxes, has a copy in U0 remove the data, and
// removes the state.
func (a systemCommands) reset(cmd *cobra.Command, p *pruning) error {
	e, err := a.engine()
	if err != nil {
		return err
	}
	all, err := e.Set.List()
	if err != nil {
		return err
	}
	if running := runningNames(all); len(running) > 0 && !p.force {
		return fmt.Errorf("reset: %w: %s", errStillRunning, strings.Join(running, ", "))
	}
	if err := p.confirm(cmd.Context(), "from "+e.Dirs.Data+" and "+e.Dirs.State+":\n        - "+resetWarning+"\nThe configuration and logins to registries stay"); err != nil {
		return err
	}
	var failed []error
	for _, entry := range all {
		failed = append(failed, e.Remove(cmd.Context(), entry.Record.ID, true))
	}
	if err := errors.Join(failed...); err != nil {
		return err // a process of it may use what would be removed
	}
	if err := a.inU0([]string{"system", "reset", "--force"}); err != nil {
		return err
	}
	if err := removeState(e); err != nil {
		return err
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "Everything is removed from %s and %s. The configuration and logins to registries stay.\n", e.Dirs.Data, e.Dirs.State)
	return err
}

// runningNames lists the sandboxes that have not ended.
func runningNames(all []*record.Entry) []string {
	var names []string
	for _, e := range all {
		if s := e.Record.Status; s != record.Exited && s != record.Dead {
			names = append(names, e.Record.Name)
		}
	}
	return names
}

// resetStore is the part of it in U0.
func (a systemCommands) resetStore(cmd *cobra.Command) error {
	all, err := record.Set{Dirs: a.inside.Dirs}.List()
	if err != nil {
		return err
	}
	if running := runningNames(all); len(running) > 0 {
		return fmt.Errorf("reset: sandboxes were started meanwhile: %s", strings.Join(running, ", "))
	}
	busy := working("Removing everything", false)
	left, err := store.Reset(cmd.Context(), a.inside.Dirs.Data, besideStore...)
	busy.end()
	for _, path := range left {
		fmt.Fprintf(stderr(), "%s is not of cpc: delete it yourself\n", visible.Text(path))
	}
	if errors.Is(err, fs.ErrPermission) {
		// For example when the user's range of subordinate ids was another one.
		err = fmt.Errorf("%w: %w", errForeignIDs, err)
	}
	return err
}

// removeState removes the records and locks. The directory stays where something
// else is in it.
func removeState(e *sandbox.Engine) error {
	var errs []error
	for _, name := range []string{"sandboxes", "steps", "events", "idranges", "builds.lock", "names.lock"} {
		errs = append(errs, os.RemoveAll(filepath.Join(e.Dirs.State, name)))
	}
	_ = os.Remove(e.Dirs.State) // a service manager may keep the directory
	return errors.Join(errs...)
}
