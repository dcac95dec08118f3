// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"context"
	"errors"
	"io"

	"github.com/claude-pocket-console/cpc/sandbox/files"
	"github.com/claude-pocket-console/cpc/sandbox/wire"
)

// GetFiles writes what the order asks for of a running sandbox: a line with what was
// found (files.ReadFound), and a tar.
func (e *Engine) GetFiles(ctx context.Context, name string, o files.Order, w io.Writer) error {
	o.Do = files.Get
	return e.transfer(ctx, name, wire.RequestBody{Op: wire.OpFiles, Files: &o}, Streams{Out: w})
}

// PutFiles unpacks a tar in a running sandbox, as the order says.
func (e *Engine) PutFiles(ctx context.Context, name string, o files.Order, r io.Reader) error {
	o.Do = files.Put
	return e.transfer(ctx, name, wire.RequestBody{Op: wire.OpFiles, Files: &o}, Streams{In: r})
}

func (e *Engine) transfer(ctx context.Context, name string, req wire.RequestBody, st Streams) error {
	s, err := e.stream(ctx, name, req)
	if err != nil {
		return err
	}
	defer s.Close()
	defer context.AfterFunc(ctx, func() { _ = s.Close() })()
	_, err = s.Stream(st)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// CopyOut copies a path of a running sandbox to a place of the caller's, by docker's rules.
func (e *Engine) CopyOut(ctx context.Context, name string, o files.Order, to files.Local, seen func(io.Writer) io.Writer) error {
	pr, pw := io.Pipe()
	got := make(chan error, 1)
	go func() {
		err := e.GetFiles(ctx, name, o, seen(pw))
		_ = pw.CloseWithError(err)
		got <- err
	}()
	err := to.Unpack(ctx, pr, o.Path)
	_ = pr.CloseWithError(err)
	if sent := <-got; sent != nil && (err == nil || !errors.Is(sent, err)) {
		return sent // the other is what came of it
	}
	return err
}

// errNotTaken is what ends packing for a helper that has ended.
var errNotTaken = errors.New("the rest was not taken")

// CopyIn copies a file or directory of the caller's into a running sandbox, by docker's rules.
func (e *Engine) CopyIn(ctx context.Context, name string, from files.Local, o files.Order, seen func(io.Writer) io.Writer) (err error) {
	if o.Source, err = from.Source(); err != nil {
		return err
	}
	pr, pw := io.Pipe()
	packed := make(chan error, 1)
	go func() {
		err := from.Pack(ctx, seen(pw))
		_ = pw.CloseWithError(err)
		packed <- err
	}()
	err = e.PutFiles(ctx, name, o, pr)
	_ = pr.CloseWithError(errNotTaken)
	if packErr := <-packed; packErr != nil && !errors.Is(packErr, errNotTaken) {
		return packErr
	}
	return err
}
