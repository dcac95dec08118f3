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
	"testing"

	"golang.org/x/sys/unix"
)

// TestSpaceHint: to remove images is advice for cpc's own disk only.
func TestSpaceHint(t *testing.T) {
	data := t.TempDir()
	t.Setenv("CPC_DATA_DIR", data)
	t.Setenv("CPC_STATE_DIR", filepath.Join(data, "state"))
	at := func(path string) error { return &fs.PathError{Op: "write", Path: path, Err: unix.ENOSPC} }
	for _, c := range []struct {
		err  error
		want string // "": none
	}{
		{at("/dev/stdout"), "What the output goes to"},
		{errors.Join(errors.New("x"), fmt.Errorf("print: %w", at("/dev/stderr"))), "What the output goes to"},
		{at("/mnt/usb/image.tar"), "where /mnt/usb/image.tar is"},
		{at("image.tar"), "full: free some space."},
		{at(data + "/oci/blobs/x"), "cpc rmi"},
		{at(data + "/state/x"), "cpc rmi"},
		{&os.LinkError{Op: "rename", Old: "/x", New: data + "/oci/index.json", Err: unix.EDQUOT}, "quota is used up: free some space; cpc rmi"},
		{fmt.Errorf("layer: %w", unix.ENOSPC), "cpc rmi"},
		{&fs.PathError{Op: "write", Path: data, Err: unix.EIO}, ""},
		{unix.EPIPE, ""},
	} {
		_, got := explain(c.err)
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) || c.want != "cpc rmi" && strings.Contains(got, "rmi") && !strings.Contains(c.want, "rmi") {
			t.Errorf("%v: %q, want %q", c.err, got, c.want)
		}
	}
}

// TestFullOutput: what prints to a full device says so, and names no image.
func TestFullOutput(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	stdout := os.Stdout
	t.Cleanup(func() { os.Stdout = stdout })
	_, err = fmt.Fprintln(full, "x")
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		e.Path = stdout.Name()
	}
	if _, hint := explain(err); strings.Contains(hint, "rmi") || !strings.Contains(hint, "output") {
		t.Errorf("%v: %q", err, hint)
	}
}
