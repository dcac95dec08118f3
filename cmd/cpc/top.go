// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/claude-pocket-console/cpc/internal/format"
	"github.com/claude-pocket-console/cpc/internal/hint"
)

func (a sandboxCommands) topCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "top [OPTIONS] SANDBOX [PS-OPTION...]",
		Short: "Show the running processes of a sandbox",
		Long: `Show the running processes of a sandbox, with the ps of the host. The options are
those of ps; the default is -ef. Process and user ids are those of the host.`,
		Example: "  cpc top work -o pid,rss,args",
		Args:    wants(1, many),
		RunE: func(cmd *cobra.Command, args []string) error {
			e, err := a.engine()
			if err != nil {
				return err
			}
			pids, err := e.Processes(args[0])
			if err != nil {
				return err
			}
			lines, err := ps(cmd.Context(), args[1:], pids)
			if err != nil {
				return fmt.Errorf("top %s: %w", args[0], err)
			}
			rows, err := ofProcesses(lines, pids)
			if err != nil {
				return fmt.Errorf("top %s: %w", args[0], err)
			}
			return format.Table(cmd.OutOrStdout(), rows)
		},
	}
	cmd.Flags().SetInterspersed(false)
	return cmd
}

// errNoPS reports a host without ps.
var errNoPS = hint.New("the host has no ps program",
	"Install it: sudo apt-get install procps")

// ps asks for the processes alone, as most options select those of the caller's
// terminal; a ps that cannot do that says all that it would.
func ps(ctx context.Context, options []string, pids []int) ([]string, error) {
	if len(options) == 0 {
		options = []string{"-ef"}
	}
	path, err := exec.LookPath("ps")
	if err != nil {
		return nil, errNoPS
	}
	list := make([]string, len(pids))
	for i, pid := range pids {
		list[i] = strconv.Itoa(pid)
	}
	lines, err := runPS(ctx, path, append(slices.Clone(options), "-q", strings.Join(list, ",")))
	if err != nil {
		lines, err = runPS(ctx, path, options)
	}
	return lines, err
}

func runPS(ctx context.Context, path string, options []string) ([]string, error) {
	cmd := exec.CommandContext(ctx, path, options...) //nolint:gosec // the caller's own program, with the caller's options
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		text, _, _ := strings.Cut(strings.TrimSpace(said.String()), "\n")
		return nil, fmt.Errorf("ps %s: %s (%w)", strings.Join(options, " "), text, err)
	}
	return strings.Split(strings.TrimRight(string(out), "\n"), "\n"), nil
}

// ofProcesses picks the lines of some processes out of what ps printed, the
// header first, in fields; the last takes the rest of the line.
func ofProcesses(lines []string, pids []int) ([][]string, error) {
	head := strings.Fields(lines[0])
	at := slices.Index(head, "PID")
	if at < 0 {
		return nil, errors.New("ps printed no column PID: name it among the options, as -o pid,args")
	}
	rows := [][]string{head}
	for _, line := range lines[1:] {
		f := strings.Fields(line)
		if len(f) <= at {
			continue
		}
		pid, err := strconv.Atoi(f[at])
		if err != nil || !slices.Contains(pids, pid) {
			continue
		}
		if len(f) > len(head) {
			f = append(f[:len(head)-1:len(head)-1], strings.Join(f[len(head)-1:], " "))
		}
		rows = append(rows, f)
	}
	return rows, nil
}
