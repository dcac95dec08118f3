// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

// TestRememberedNames: addresses are asked for again after a while, and failures
// at once.
func TestRememberedNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		var fails error
		resolve := rememberedNames(func(context.Context, string) ([]netip.Addr, error) {
			asked++
			return []netip.Addr{netip.AddrFrom4([4]byte{1, 2, 3, byte(asked)})}, fails
		})
		ask := func(name string, want int) {
			t.Helper()
			if _, err := resolve(t.Context(), name); !errors.Is(err, fails) || asked != want {
				t.Errorf("asked %d times, want %d: %v", asked, want, err)
			}
		}
		ask("a.test", 1)
		ask("a.test", 1)
		ask("b.test", 2)
		time.Sleep(namesFor)
		fails = errors.New("no answer")
		ask("a.test", 3)
		ask("a.test", 4)
		fails = nil
		for n := range 2 * mostNames {
			ask(fmt.Sprint(n), 5+n)
		}
	})
}
