// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"net"
	"net/netip"
	goruntime "runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/idmap"
	"github.com/claude-pocket-console/cpc/internal/modetest"
	"github.com/claude-pocket-console/cpc/internal/testkit"
	"github.com/claude-pocket-console/cpc/netns/gateway"
)

// TestManyConns: ten thousand connections, all of them served, leave nothing
// behind in the process.
func TestManyConns(t *testing.T) {
	modetest.In(t, []idmap.Mode{idmap.Mapped}, func(t modetest.T) {
		w := newWorld(t.T)
		n, b := open(t, Options{Policy: allow(t.T, "good.test:22"), Host: w.host(), Limits: gateway.Limits{Conns: 4096, PerSecond: 1 << 20}})
		at := net.JoinHostPort(b.works(order{Do: "lookup", Addr: "good.test"}).Names[0], "22")
		round := func(conns int) usage {
			// On a very busy machine some do not have their byte in time.
			if r := b.works(order{Do: "many", Addr: at, N: conns, Wait: patience}); r.N < conns*3/4 {
				t.Errorf("%d of %d connections were served", r.N, conns)
			}
			testkit.Eventually(t.T, soon, "all connections end", func() bool { return len(n.gw.Conns()) == 0 })
			return used(t.T)
		}
		before := round(1000)
		start := processTime(t.T)
		after := round(10_000)
		each := (processTime(t.T) - start) / 10_000
		if plain := plainConn(t.T, w); each > 4*plain {
			t.Errorf("a connection costs %v of processor time, and %v without the gateway", each, plain)
		} else {
			t.Logf("a connection costs %v of processor time, and %v without the gateway", each, plain)
		}
		// Pipes of splice(2) are kept for a while, and ended threads' stacks.
		if after.more(before) && !testkit.Within(soon, func() bool { after = used(t.T); return !after.more(before) }) {
			t.Errorf("after 10,000 connections %+v, before %+v", after, before)
		}
		t.Logf("after 1,000 connections %+v, after 10,000 more %+v", before, after)
	})
}

// plainConn is the processor time of a connection to the world without a gateway,
// both of its ends: the measure of what one with a gateway may cost on this machine,
// as busy as it is.
func plainConn(t *testing.T, w *world) time.Duration {
	t.Helper()
	const conns = 1000
	at, dial, start := netip.MustParseAddrPort(public+":22"), w.host().Dial, processTime(t)
	for range conns {
		c, err := dial(t.Context(), at)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = c.Write([]byte("x"))
		if n, err := c.Read(make([]byte, 1)); n != 1 {
			t.Error(err)
		}
		_ = c.Close()
	}
	return (processTime(t) - start) / conns
}

// usage is what a process holds.
type usage struct{ goroutines, descriptors, heap int }

func (u usage) more(than usage) bool {
	return u.goroutines > than.goroutines+10 || u.descriptors > than.descriptors+10 || u.heap > than.heap+1<<20
}

func used(t *testing.T) usage {
	t.Helper()
	goruntime.GC() // what is left, not what was needed
	var m goruntime.MemStats
	goruntime.ReadMemStats(&m)
	return usage{goruntime.NumGoroutine(), testkit.Descriptors(t), int(m.HeapAlloc)}
}

// TestDescriptorsAreLeft: a sandbox that holds as many connections as it can
// leaves its owner descriptors.
func TestDescriptorsAreLeft(t *testing.T) {
	modetest.In(t, []idmap.Mode{idmap.Mapped}, func(t modetest.T) {
		var limit unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = unix.Setrlimit(unix.RLIMIT_NOFILE, &limit) }()
		const most = 1024
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: most, Max: limit.Max}); err != nil {
			t.Fatal(err)
		}
		w := newWorld(t.T)
		n, b := open(t, Options{Policy: allow(t.T, rules()...), Host: w.host(), Limits: gateway.Limits{PerSecond: 1 << 20}})
		at := net.JoinHostPort(b.works(order{Do: "lookup", Addr: "good.test"}).Names[0], "22")
		done := make(chan result, 1)
		go func() { done <- b.works(order{Do: "hold", Addr: at, N: 520, Wait: 2 * time.Second}) }()
		testkit.Eventually(t.T, soon, "all places are taken", func() bool { return len(n.gw.Conns()) == most/4 })
		// The test's own server has one more of each.
		if have := used(t.T).descriptors; have > most-128 {
			t.Errorf("%d of %d descriptors are in use", have, most)
		}
		if r := <-done; r.N == 0 {
			t.Error("none was answered")
		}
	})
}

// TestNoDescriptors: when the process has no descriptors left, connections fail,
// and work again once it has.
func TestNoDescriptors(t *testing.T) {
	modetest.In(t, []idmap.Mode{idmap.Mapped}, func(t modetest.T) {
		w := newWorld(t.T)
		_, b := open(t, Options{Policy: allow(t.T, rules()...), Host: w.host(), Limits: gateway.Limits{PerSecond: 1 << 20}})
		at := net.JoinHostPort(b.works(order{Do: "lookup", Addr: "good.test"}).Names[0], "22")
		var limit unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = unix.Setrlimit(unix.RLIMIT_NOFILE, &limit) }()
		few := limit
		few.Cur = uint64(used(t.T).descriptors + 20)
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &few); err != nil {
			t.Fatal(err)
		}
		r := b.do(order{Do: "many", Addr: at, N: 300})
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
			t.Fatal(err)
		}
		if r.N == 300 {
			t.Error("the lack of descriptors was none")
		}
		b.works(order{Do: "tcp", Addr: at, Send: "x"})
		if r := b.works(order{Do: "tcp", Addr: "good.test:80", Send: get("good.test")}); !strings.Contains(r.Text, "hello from good.test") {
			t.Errorf("after a lack of descriptors: %+v", r)
		}
	})
}

// TestSourcePort: connections from one port of the sandbox to two names are each
// the one that it is, though both end at the gateway's address (the kernel's
// connection tracking gives the second another port).
func TestSourcePort(t *testing.T) {
	modetest.In(t, []idmap.Mode{idmap.Mapped}, func(t modetest.T) {
		w := newWorld(t.T)
		_, b := open(t, Options{Policy: allow(t.T, rules()...), Host: w.host()})
		names := []string{"good.test", "a.wild.test", "b.wild.test"}
		var at []string
		for _, name := range names {
			all := b.works(order{Do: "lookup", Addr: name}).Names
			at = append(at, net.JoinHostPort(all[slices.IndexFunc(all, func(a string) bool { return !strings.Contains(a, ":") })], "80"))
		}
		r := b.works(order{Do: "oneport", Names: names, Addrs: at})
		if len(r.Names) != len(names) {
			t.Fatalf("%+v", r)
		}
		for i, name := range names {
			if !strings.Contains(r.Names[i], "hello from "+name) {
				t.Errorf("%s: %q", name, r.Names[i])
			}
		}
		// Each asks for the next one's name.
		r = b.works(order{Do: "oneport", Names: append(names[1:], names[0]), Addrs: at})
		for i, said := range r.Names {
			if !strings.Contains(said, "403 Forbidden") {
				t.Errorf("%s as another: %q", at[i], said)
			}
		}
	})
}
