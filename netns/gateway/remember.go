// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Bounds of what is remembered of names: connections that a program makes one
// after the other go the same way. Addresses are checked each time all the same.
const (
	namesFor   = time.Second      // an answer is taken as it is
	namesUntil = 30 * time.Second // an answer is taken, and asked for anew meanwhile
	mostNames  = 256
	mostAnew   = 4                // questions that nobody waits for
	anewFor    = 10 * time.Second // one of those
	// behind is how long a question waits that nobody waits for: the connection's
	// first bytes need the processor that it would take.
	behind = 10 * time.Millisecond
)

// answer is what is known of a name.
type answer struct {
	addrs []netip.Addr
	since time.Time
	asked bool // it is being asked for anew
}

// memory remembers the addresses of names. To ask the host's resolver takes a
// millisecond at least, which a connection does not wait for if there was an
// answer a while ago. Its methods are safe for concurrent use.
type memory struct {
	ask  func(context.Context, string) ([]netip.Addr, error)
	anew chan struct{} // a token for each question that nobody waits for

	mu    sync.Mutex // guards what follows
	known map[string]answer
}

func newMemory(ask func(context.Context, string) ([]netip.Addr, error)) *memory {
	return &memory{ask: ask, anew: make(chan struct{}, mostAnew), known: map[string]answer{}}
}

// resolve returns the addresses of a name, and remembers them if there are any.
func (m *memory) resolve(ctx context.Context, name string) ([]netip.Addr, error) {
	m.mu.Lock()
	a, ok := m.known[name]
	age := time.Since(a.since)
	if ok && age < namesUntil {
		if age >= namesFor && !a.asked {
			m.refresh(ctx, name, a)
		}
		m.mu.Unlock()
		return slices.Clone(a.addrs), nil
	}
	m.mu.Unlock()
	return m.fetch(ctx, name)
}

// fetch asks. An error is not remembered, and neither is what was known.
func (m *memory) fetch(ctx context.Context, name string) ([]netip.Addr, error) {
	addrs, err := m.ask(ctx, name)
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil {
		delete(m.known, name)
		return nil, err
	}
	if len(m.known) >= mostNames {
		clear(m.known)
	}
	m.known[name] = answer{addrs: slices.Clone(addrs), since: time.Now()}
	return addrs, nil
}

// refresh asks for a name anew, beside the connection that needs it. It is called
// with mu held.
func (m *memory) refresh(ctx context.Context, name string, a answer) {
	select {
	case m.anew <- struct{}{}:
	default:
		return
	}
	a.asked = true
	m.known[name] = a
	go func() {
		defer func() { <-m.anew }()
		time.Sleep(behind)
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), anewFor)
		defer cancel()
		_, _ = m.fetch(ctx, name)
	}()
}

// forget reports whether what is known of a name may be of old, and has it asked
// for before the next connection.
func (m *memory) forget(name string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	a, ok := m.known[name]
	delete(m.known, name)
	return ok && time.Since(a.since) >= namesFor
}
