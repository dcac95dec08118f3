// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/claude-pocket-console/cpc/internal/hint"
	"github.com/claude-pocket-console/cpc/rootfs"
	"github.com/claude-pocket-console/cpc/sandbox/inspect"
	"github.com/claude-pocket-console/cpc/sandbox/record"
)

func (a inspectCommands) inspectCommand() *cobra.Command {
	var l listing
	var kind string
	cmd := &cobra.Command{
		Use: "inspect [OPTIONS] NAME...", Short: "Show detailed information on sandboxes and images",
		Args: wants(1, many),
		RunE: func(cmd *cobra.Command, args []string) error {
			if kind != "" && kind != "image" && kind != "sandbox" && kind != "container" {
				return usageError{fmt.Errorf("--type %q: choose sandbox or image", kind)}
			}
			found := []any{}
			var failed error
			for _, name := range args {
				v, err := a.inspectOne(cmd, name, kind)
				if err != nil {
					failed = errors.Join(failed, err)
					continue
				}
				found = append(found, v)
			}
			if l.format == "json" {
				l.format, l.json = "", true
			}
			if l.format == "" {
				l.json = true
			}
			return errors.Join(printRows(cmd.OutOrStdout(), l, nil, found), failed)
		},
	}
	cmd.Flags().StringVar(&kind, "type", "", "`TYPE` of the object: sandbox or image (default: the first that exists)")
	l.registerShort(cmd, "f")
	return cmd
}

// errNoSuchThing reports a name that neither a sandbox nor an image has.
var errNoSuchThing = hint.New("no such sandbox or image",
	"List the sandboxes with: cpc ps -a. List the images with: cpc images")

func (a inspectCommands) inspectOne(cmd *cobra.Command, name, kind string) (any, error) {
	if kind != "image" {
		e, err := a.engine()
		if err != nil {
			return nil, err
		}
		entry, err := e.Set.Find(name)
		if err == nil {
			return inspect.OfSandbox(entry), nil
		}
		if kind != "" || !errors.Is(err, record.ErrNotFound) {
			return nil, err
		}
	}
	img, err := a.findImage(cmd.Context(), name, pullNever, "")
	if errors.Is(err, rootfs.ErrNotFound) && kind == "" {
		return nil, fmt.Errorf("%w: %s", errNoSuchThing, name)
	}
	if err != nil {
		return nil, err
	}
	return inspect.OfImage(img), nil
}
