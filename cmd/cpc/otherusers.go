// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/bounded"
	"github.com/claude-pocket-console/cpc/internal/dirs"
	"github.com/claude-pocket-console/cpc/internal/hint"
	"github.com/claude-pocket-console/cpc/internal/visible"
	"github.com/claude-pocket-console/cpc/sandbox/process"
)

// Root looks at other users' sandboxes, and ends them, with a cpc that runs as that user:
// what is in a user's directories is never read with root's rights.

// othersTime is how long another user's cpc may take to list sandboxes: that user can stop it.
const othersTime = 10 * time.Second

// maxOthers bounds what another user's cpc prints, in bytes.
const maxOthers = 16 << 20

var errNotRoot = hint.New("only root can see the sandboxes of other users", "Run it as root, for example with: sudo cpc ps --all-users")

// otherUser is the user that a command runs as.
type otherUser struct {
	name   string
	uid    int
	gid    uint32
	groups []uint32
	home   string
}

// findUser finds a user by name or id. An id that the system does not know has the group of
// the same number.
func findUser(who string) (otherUser, error) {
	found, err := user.Lookup(who)
	if err != nil {
		if found, err = user.LookupId(who); err != nil {
			uid, numeric := strconv.ParseUint(who, 10, 31)
			if numeric != nil {
				return otherUser{}, fmt.Errorf("there is no user %q", who)
			}
			return otherUser{name: who, uid: int(uid), gid: uint32(uid)}, nil
		}
	}
	u := otherUser{name: found.Username, home: found.HomeDir}
	if u.uid, err = strconv.Atoi(found.Uid); err != nil {
		return otherUser{}, err
	}
	ids, err := found.GroupIds()
	if err != nil {
		ids = nil // the user's own group is enough for cpc
	}
	for _, id := range append([]string{found.Gid}, ids...) {
		gid, err := strconv.ParseUint(id, 10, 32)
		if err != nil {
			return otherUser{}, err
		}
		u.groups = append(u.groups, uint32(gid))
	}
	u.gid = u.groups[0]
	return u, nil
}

// command is cpc as u, in a session of its own and with nothing of the caller's.
func (u otherUser) command(ctx context.Context, args []string, out, fail io.Writer) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "/proc/self/exe", args...)
	cmd.Args[0], cmd.Dir = "cpc", "/"
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "USER=" + u.name, "LOGNAME=" + u.name, "HOME=" + u.home}
	if dir := dirs.Runtime(u.uid); dir != "" {
		cmd.Env = append(cmd.Env, "XDG_RUNTIME_DIR="+dir)
	}
	cmd.Stdout, cmd.Stderr = out, fail
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: &syscall.Credential{Uid: uint32(u.uid), Gid: u.gid, Groups: u.groups}}
	cmd.WaitDelay = time.Second
	return cmd
}

// asCommand is for root alone, who ends and looks at what is another user's.
func (a sandboxCommands) asCommand() *cobra.Command {
	can := []string{"inspect", "kill", "pause", "ps", "rm", "stop", "unpause", "wait"}
	cmd := &cobra.Command{
		Use: "as USER COMMAND [ARG...]", Short: "Run a command on the sandboxes of another user (root only)",
		Long: "Run COMMAND, one of " + strings.Join(can, ", ") + ", as USER.\nSee the sandboxes of all users with: cpc ps --all-users",
		Args: wants(2, many),
		RunE: func(cmd *cobra.Command, args []string) error {
			if os.Getuid() != 0 {
				return errNotRoot
			}
			if !slices.Contains(can, args[1]) {
				return usageError{fmt.Errorf("cpc as cannot do %q: use one of %s", args[1], strings.Join(can, ", "))}
			}
			u, err := findUser(args[0])
			if err != nil {
				return err
			}
			err = u.command(cmd.Context(), args[1:], visible.Writer(cmd.OutOrStdout()), visible.Writer(stderr())).Run()
			if failed, ok := errors.AsType[*exec.ExitError](err); ok && cmd.Context().Err() == nil {
				return exitStatus(process.ExitCode(unix.WaitStatus(failed.Sys().(syscall.WaitStatus))))
			}
			return err
		},
	}
	cmd.Flags().SetInterspersed(false)
	return cmd
}

// othersRows are the sandboxes of all other users. What could not be listed is an error
// beside the rows of the others.
func othersRows(ctx context.Context, args []string) (rows []psRow, err error) {
	uids := dirs.Users()
	found := make([][]psRow, len(uids))
	failed := make([]error, len(uids))
	var all sync.WaitGroup
	for i, uid := range uids {
		all.Go(func() { found[i], failed[i] = rowsOfUser(ctx, uid, args) })
	}
	all.Wait()
	return slices.Concat(found...), errors.Join(failed...)
}

func rowsOfUser(ctx context.Context, uid int, args []string) ([]psRow, error) {
	u, err := findUser(strconv.Itoa(uid))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, othersTime)
	defer cancel()
	out, fail := bounded.Buffer{Most: maxOthers}, bounded.Buffer{Most: maxOthers}
	err = u.command(ctx, append([]string{"ps", "--format", "{{json .}}"}, args...), &out, &fail).Run()
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return nil, ctx.Err()
	case ctx.Err() != nil:
		return nil, fmt.Errorf("user %s: no answer within %v", u.name, othersTime)
	case err != nil:
		return nil, fmt.Errorf("user %s: %w: %s", u.name, err, visible.Line(fail.String()))
	case out.Over():
		return nil, fmt.Errorf("user %s: cpc ps prints more than %d bytes", u.name, maxOthers)
	}
	var rows []psRow
	for d := json.NewDecoder(bytes.NewReader(out.Bytes())); ; {
		var row psRow
		err := d.Decode(&row)
		if errors.Is(err, io.EOF) {
			return rows, nil
		}
		if err != nil {
			return nil, fmt.Errorf("user %s: what its cpc ps prints: %w", u.name, err)
		}
		row.User, row.labels = u.name, map[string]string{}
		for label := range strings.SplitSeq(row.Labels, ",") {
			key, value, _ := strings.Cut(label, "=")
			row.labels[key] = value
		}
		rows = append(rows, row)
	}
}
