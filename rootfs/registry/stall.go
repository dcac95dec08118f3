// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"time"
)

// StallError is a registry that neither sends nor takes anything any more. It is a
// timeout, as package net has them.
type StallError struct {
	Host  string
	After time.Duration
}

func (e *StallError) Error() string {
	return e.Host + " has neither sent nor taken anything for " + e.After.String()
}

func isStall(err error) bool {
	_, ok := errors.AsType[*StallError](err)
	return ok
}

// Timeout implements net.Error.
func (e *StallError) Timeout() bool { return true }

// Temporary implements net.Error: whoever asks has waited long enough.
func (e *StallError) Temporary() bool { return false }

// watcher ends requests that do not go on: nothing of the body is taken, no answer
// comes, or nothing more of it. How long all of it takes is not bounded.
type watcher struct {
	next  http.RoundTripper
	after time.Duration
}

// RoundTrip implements http.RoundTripper.
func (w watcher) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(r.Context())
	p := &progress{after: w.after, host: r.URL.Host}
	p.timer = time.AfterFunc(w.after, func() {
		p.stalled.Store(true)
		cancel()
	})
	out := r.WithContext(ctx)
	if r.Body != nil && r.Body != http.NoBody {
		out.Body = sent{r.Body, p}
	}
	resp, err := w.next.RoundTrip(out)
	p.answered.Store(true)
	p.timer.Stop()
	if err != nil {
		cancel()
		return nil, p.explain(err)
	}
	resp.Body = taken{resp.Body, p, cancel}
	return resp, nil
}

// progress is when something was last sent or taken.
type progress struct {
	after             time.Duration
	host              string
	timer             *time.Timer
	answered, stalled atomic.Bool
}

// explain says why a request was cancelled, if it was for want of progress.
func (p *progress) explain(err error) error {
	if err != nil && !errors.Is(err, io.EOF) && p.stalled.Load() {
		return &StallError{p.host, p.after}
	}
	return err
}

// sent is the body of a request: time counts until it is asked for more, and
// after its end until there is an answer.
type sent struct {
	io.ReadCloser
	p *progress
}

// Read implements io.Reader.
func (b sent) Read(buf []byte) (int, error) {
	n, err := b.ReadCloser.Read(buf)
	if !b.p.answered.Load() {
		b.p.timer.Reset(b.p.after)
	}
	return n, err
}

// taken is the body of an answer: time counts while more of it is waited for, and
// not while what has come is put to use.
type taken struct {
	io.ReadCloser
	p    *progress
	done func()
}

// Read implements io.Reader.
func (b taken) Read(buf []byte) (int, error) {
	b.p.timer.Reset(b.p.after)
	defer b.p.timer.Stop()
	n, err := b.ReadCloser.Read(buf)
	return n, b.p.explain(err)
}

// Close implements io.Closer.
func (b taken) Close() error {
	defer b.done()
	return b.ReadCloser.Close()
}
