// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package names

import (
	"container/list"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync"
)

// Entry is a name and the addresses that stand for it in one sandbox.
type Entry struct {
	Name string
	V4   netip.Addr
	V6   netip.Addr
}

// Hook is told of names before a program can learn their addresses, and when
// an address stands for a name no more.
type Hook interface {
	Added(e Entry) error
	Removed(e Entry) error
}

// ErrFull reports that no name can be added, because all are in use.
var ErrFull = errors.New("all names of the sandbox are in use")

// PoolOptions says where the addresses come from.
type PoolOptions struct {
	// V4 and V6 are the ranges; V6 may be the zero value, for no IPv6. The
	// first Skip addresses of each are left out.
	V4, V6 netip.Prefix
	Skip   uint32
	// Most is how many names are held; 0 means 8192. Then the one that was
	// asked for longest ago gives way.
	Most int
	// Busy reports whether a name must stay, as it has connections.
	Busy func(name string) bool
	// Hook may be nil.
	Hook Hook
}

// Pool holds the names of one sandbox. It is safe for concurrent use.
type Pool struct {
	o     PoolOptions
	count uint32 // of usable addresses

	mu     sync.Mutex // guards what follows, and calls of the hook
	byName map[string]*list.Element
	byAddr map[netip.Addr]*list.Element // of Entry
	recent *list.List                   // front: asked for last
	next   uint32
}

const defaultNames = 8192

// NewPool returns an empty pool.
func NewPool(o PoolOptions) (*Pool, error) {
	if o.Most == 0 {
		o.Most = defaultNames
	}
	if !o.V4.Addr().Is4() || o.V4.Bits() > 30 || o.V4.Bits() < 8 {
		return nil, fmt.Errorf("pool: IPv4 range %v", o.V4)
	}
	if o.V6.IsValid() && (!o.V6.Addr().Is6() || o.V6.Bits() > 96) {
		return nil, fmt.Errorf("pool: IPv6 range %v", o.V6)
	}
	size := uint32(1) << (32 - o.V4.Bits())
	if uint64(o.Skip)+uint64(o.Most)+1 >= uint64(size) {
		return nil, fmt.Errorf("pool: %d names do not fit into %v", o.Most, o.V4)
	}
	return &Pool{
		o: o, count: size - o.Skip - 1, // not the broadcast address
		byName: map[string]*list.Element{}, byAddr: map[netip.Addr]*list.Element{}, recent: list.New(),
	}, nil
}

// Of returns the entry of a canonical name, adding it if need be.
func (p *Pool) Of(name string) (Entry, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if el, ok := p.byName[name]; ok {
		p.recent.MoveToFront(el)
		return el.Value.(Entry), nil
	}
	if len(p.byName) >= p.o.Most {
		if err := p.evict(); err != nil {
			return Entry{}, err
		}
	}
	e := p.fresh(name)
	if p.o.Hook != nil {
		if err := p.o.Hook.Added(e); err != nil {
			return Entry{}, fmt.Errorf("name %s: %w", name, err)
		}
	}
	el := p.recent.PushFront(e)
	p.byName[name], p.byAddr[e.V4] = el, el
	if e.V6.IsValid() {
		p.byAddr[e.V6] = el
	}
	return e, nil
}

// fresh takes the next address that is free. Addresses are used in turn, so
// that one which a program still remembers is not soon another name's.
func (p *Pool) fresh(name string) Entry {
	for {
		n := p.o.Skip + p.next
		p.next = (p.next + 1) % p.count
		e := Entry{Name: name, V4: at(p.o.V4, n)}
		if _, taken := p.byAddr[e.V4]; taken {
			continue
		}
		if p.o.V6.IsValid() {
			e.V6 = at(p.o.V6, n)
		}
		return e
	}
}

// at returns the n-th address of a range.
func at(p netip.Prefix, n uint32) netip.Addr {
	raw := p.Masked().Addr().AsSlice()
	last := raw[len(raw)-4:]
	binary.BigEndian.PutUint32(last, binary.BigEndian.Uint32(last)|n)
	addr, _ := netip.AddrFromSlice(raw)
	return addr
}

// tries bounds the search for a name that nothing uses.
const tries = 64

func (p *Pool) evict() error {
	el := p.recent.Back()
	for range tries {
		if el == nil {
			break
		}
		e := el.Value.(Entry)
		if p.o.Busy == nil || !p.o.Busy(e.Name) {
			return p.remove(el)
		}
		el = el.Prev()
	}
	return ErrFull
}

func (p *Pool) remove(el *list.Element) error {
	e := el.Value.(Entry)
	p.recent.Remove(el)
	delete(p.byName, e.Name)
	delete(p.byAddr, e.V4)
	delete(p.byAddr, e.V6)
	if p.o.Hook != nil {
		return p.o.Hook.Removed(e)
	}
	return nil
}

// Lookup returns the name that an address stands for.
func (p *Pool) Lookup(addr netip.Addr) (name string, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	el, ok := p.byAddr[addr]
	if !ok {
		return "", false
	}
	return el.Value.(Entry).Name, true
}

// With calls f with all entries while none is added or removed.
func (p *Pool) With(f func([]Entry) error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]Entry, 0, p.recent.Len())
	for el := p.recent.Front(); el != nil; el = el.Next() {
		all = append(all, el.Value.(Entry))
	}
	return f(all)
}
