// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/netns/policy"
)

// TestMemory: a second long an answer is taken as it is, then taken while it is
// asked for anew, and after half a minute waited for. Errors are not remembered.
func TestMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const takes = 100 * time.Millisecond
		now := netip.MustParseAddr("192.0.2.1")
		var fails error
		asked := 0
		m := newMemory(func(context.Context, string) ([]netip.Addr, error) {
			asked++
			time.Sleep(takes)
			return []netip.Addr{now}, fails
		})
		look := func(want string, waits time.Duration, questions int) {
			t.Helper()
			start := time.Now()
			got, err := m.resolve(t.Context(), "a.test")
			took := time.Since(start)
			synctest.Wait()
			if err != nil || len(got) != 1 || got[0].String() != want || took != waits || asked != questions {
				t.Errorf("%v, %v after %v and %d questions; want %s after %v and %d", got, err, took, asked, want, waits, questions)
			}
		}
		look("192.0.2.1", takes, 1)
		now = netip.MustParseAddr("192.0.2.2")
		look("192.0.2.1", 0, 1)
		time.Sleep(namesFor)
		look("192.0.2.1", 0, 1)
		look("192.0.2.1", 0, 1) // one question at a time
		time.Sleep(behind + takes + time.Millisecond)
		look("192.0.2.2", 0, 2)
		if m.forget("a.test") {
			t.Error("an answer of now is taken for one of old")
		}
		look("192.0.2.2", takes, 3)
		time.Sleep(namesFor)
		if !m.forget("a.test") {
			t.Error("an answer of old is taken for one of now")
		}
		look("192.0.2.2", takes, 4)
		time.Sleep(namesUntil)
		look("192.0.2.2", takes, 5)
		fails = errors.New("no such host")
		time.Sleep(namesFor)
		look("192.0.2.2", 0, 5)
		time.Sleep(behind + takes + time.Millisecond)
		if _, err := m.resolve(t.Context(), "a.test"); !errors.Is(err, fails) {
			t.Errorf("%v", err)
		}
		fails = nil
		for n := range 2 * mostNames {
			if _, err := m.resolve(t.Context(), fmt.Sprint(n)); err != nil || len(m.known) > mostNames {
				t.Fatalf("%d names, %v", len(m.known), err)
			}
		}
	})
}

// TestMovedHost: a host that is not where it was is looked for where its name leads
// now.
func TestMovedHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, err := policy.New([]string{"a.test:22"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		var dialled []string
		g := New(Options{
			Policy: func() *policy.Policy { return p }, Own: func() ([]netip.Addr, error) { return nil, nil },
			Dial: func(_ context.Context, to netip.AddrPort) (*net.TCPConn, error) {
				dialled = append(dialled, to.String())
				return nil, unix.ECONNREFUSED
			},
		})
		at := "8.8.8.8"
		g.known = newMemory(func(context.Context, string) ([]netip.Addr, error) { return []netip.Addr{netip.MustParseAddr(at)}, nil })
		g.o.Resolve = g.known.resolve
		c := &conn{host: policy.Host{Name: "a.test"}, port: 22}
		if _, err := g.known.resolve(t.Context(), "a.test"); err != nil {
			t.Fatal(err)
		}
		at = "8.8.4.4"
		time.Sleep(namesFor)
		if _, _, err := g.dial(t.Context(), c); err == nil || !slices.Equal(dialled, []string{"8.8.8.8:22", "8.8.4.4:22"}) {
			t.Errorf("dialled %v, %v", dialled, err)
		}
		dialled = nil
		if _, _, err := g.dial(t.Context(), c); err == nil || len(dialled) != 1 {
			t.Errorf("dialled %v, %v: once is enough for what is known of now", dialled, err)
		}
		time.Sleep(anewFor) // the question that is under way
	})
}
