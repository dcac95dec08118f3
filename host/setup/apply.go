// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package setup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/claude-pocket-console/cpc/internal/atomicfile"
	"github.com/claude-pocket-console/cpc/internal/filelock"
)

// Host is where steps are taken.
type Host struct {
	// Record is the file that keeps the steps that were taken.
	Record string
	// Root is put before every path of a step's; "" on a real host.
	Root string
	// Run runs a command.
	Run func(command []string) error
}

// Command runs one on this host; what it says is part of the error.
func Command(command []string) error {
	out, err := exec.Command(command[0], command[1:]...).CombinedOutput() //nolint:gosec // of a step's own
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(command, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// Steps returns those on record, in the order in which they were taken.
func (h Host) Steps() ([]Step, error) {
	data, err := os.ReadFile(h.Record)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var steps []Step
	if err := json.Unmarshal(data, &steps); err != nil {
		return nil, fmt.Errorf("read %s: %w", h.Record, err)
	}
	return steps, nil
}

func (h Host) save(steps []Step) error {
	if len(steps) == 0 {
		if err := os.Remove(h.Record); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return nil
	}
	data, err := json.MarshalIndent(steps, "", "  ")
	if err != nil {
		return err
	}
	return atomicfile.Write(h.Record, append(data, '\n'))
}

// Apply takes steps, and returns what it has to warn of. It stops at the first
// error; the steps up to it are on record.
func (h Host) Apply(steps []Step) (warnings []string, err error) {
	unlock, err := h.lock()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	taken, err := h.Steps()
	if err != nil {
		return nil, err
	}
	for _, s := range steps {
		if s.Kind == File {
			s.Made = h.missing(filepath.Dir(s.Path))
		}
		taken = append(taken, s)
		if err := h.save(taken); err != nil {
			return warnings, err
		}
		if err := h.apply(s); err != nil {
			if errors.Is(err, ErrOccupied) { // nothing was done
				saved := h.save(taken[:len(taken)-1])
				err = errors.Join(err, saved)
			}
			return warnings, err
		}
		for _, c := range s.Then {
			if err := h.Run(c); err != nil {
				warnings = append(warnings, err.Error())
			}
		}
	}
	return warnings, nil
}

func (h Host) apply(s Step) error {
	if s.Kind != File {
		return h.Run(s.command())
	}
	path := h.Root + s.Path
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // configuration, for all to read
		return err
	}
	if s.Replaces {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	// Exclusively: another may have put a file there since it was looked at.
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644) //nolint:gosec // configuration, for all to read
	if errors.Is(err, os.ErrExist) {
		return fmt.Errorf("write %s: %w", s.Path, ErrOccupied)
	}
	if err != nil {
		return err
	}
	_, err = f.WriteString(s.Content)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return h.after(s)
}

func (h Host) after(s Step) error {
	for _, c := range s.After {
		if err := h.Run(c); err != nil {
			return err
		}
	}
	return nil
}

// missing are the directories from dir upwards that do not exist.
func (h Host) missing(dir string) []string {
	var out []string
	for ; dir != "/" && dir != "."; dir = filepath.Dir(dir) {
		if _, err := os.Lstat(h.Root + dir); err == nil {
			break
		}
		out = append(out, dir)
	}
	slices.Reverse(out)
	return out
}

// ToUndo returns the steps that Undo would take back, in its order.
func (h Host) ToUndo(user string) ([]Step, error) {
	steps, err := h.Steps()
	if err != nil {
		return nil, err
	}
	var out []Step
	for _, s := range slices.Backward(steps) {
		if !keeps(steps, s, user) {
			out = append(out, s)
		}
	}
	return out, nil
}

// keeps reports whether a step stays when those of a user are taken back.
func keeps(steps []Step, s Step, user string) bool {
	others := user != "" && slices.ContainsFunc(steps, func(s Step) bool { return s.User != "" && s.User != user })
	return others && s.User != user
}

// Undo takes the recorded steps back, last first: all, or only those that were
// for one user, and then those for everybody when no other user's are left.
// What cannot be taken back stays on record, and the rest is undone
// nevertheless. It returns what it did, in words.
func (h Host) Undo(user string) (done []string, err error) {
	unlock, err := h.lock()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	steps, err := h.Steps()
	if err != nil {
		return nil, err
	}
	var left []Step
	for _, s := range slices.Backward(steps) {
		text, undoErr := "", error(nil)
		keep := keeps(steps, s, user)
		if !keep {
			text, undoErr = h.undo(s)
		}
		if keep || undoErr != nil {
			err = errors.Join(err, undoErr)
			left = append([]Step{s}, left...)
			continue
		}
		done = append(done, text)
	}
	saved := h.save(left) // what is left is so also after an error
	return done, errors.Join(err, saved)
}

func (h Host) undo(s Step) (string, error) {
	switch s.Kind {
	case Range:
		return fmt.Sprintf("removed the range of %s that begins at %d", s.User, s.First), h.removeRanges(s)
	case Linger:
		if !h.userExists(s.User) {
			return s.User + " is gone, and lingers no more", nil
		}
		command := []string{"loginctl", "disable-linger", s.User}
		return strings.Join(command, " "), h.Run(command)
	case File:
	}
	path := h.Root + s.Path
	content, err := os.ReadFile(filepath.Clean(path))
	switch {
	case errors.Is(err, os.ErrNotExist):
		h.removeMade(s)
		return s.Path + " is gone already", nil
	case err != nil:
		return "", err
	case string(content) != s.Content && len(content) > 0:
		return "left " + s.Path + ", which was changed since", nil
	}
	for _, c := range s.Unload {
		_ = h.Run(c) // what was not loaded cannot be unloaded
	}
	if err := os.Remove(path); err != nil {
		return "", err
	}
	h.removeMade(s)
	return "removed " + s.Path, h.after(s)
}

// removeMade removes the directories that were made for the file, unless
// others have files there by now.
func (h Host) removeMade(s Step) {
	for _, dir := range slices.Backward(s.Made) {
		_ = os.Remove(h.Root + dir)
	}
}

func (h Host) userExists(name string) bool {
	data, err := os.ReadFile(filepath.Clean(h.Root + "/etc/passwd"))
	// Users may come from elsewhere: then usermod or loginctl will tell.
	return err != nil || strings.Contains("\n"+string(data), "\n"+name+":") || h.Root == "" && h.Run([]string{"id", "-u", "--", name}) == nil
}

func (h Host) lock() (unlock func() error, err error) {
	if err := os.MkdirAll(filepath.Dir(h.Record), 0o700); err != nil {
		return nil, err
	}
	l, err := filelock.Acquire(context.Background(), h.Record+".lock", filelock.Exclusive)
	if err != nil {
		return nil, err
	}
	return l.Remove, nil
}
