// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package idmap

import "testing"

func TestIDs(t *testing.T) {
	for _, c := range []struct {
		name          string
		m             Mapping
		id            uint32
		store, caller uint32
		idmapped      bool
	}{
		{"root's first", ForRoot(0x20000000), 0, 0, 0x20000000, true},
		{"root's last", ForRoot(0x20000000), 65535, 65535, 0x2000ffff, true},
		{"mapped first", ForMapped(), 0, 1, 1, false},
		{"mapped last", ForMapped(), 65535, 65536, 65536, false},
		{"single", ForSingle(), 0, 0, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			store, err := c.m.ToStore(c.id)
			if err != nil || store != c.store {
				t.Errorf("ToStore(%d) = %d, %v; want %d", c.id, store, err, c.store)
			}
			back, err := c.m.FromStore(store)
			if err != nil || back != c.id {
				t.Errorf("FromStore(%d) = %d, %v; want %d", store, back, err, c.id)
			}
			caller, err := c.m.ToCaller(c.id)
			if err != nil || caller != c.caller {
				t.Errorf("ToCaller(%d) = %d, %v; want %d", c.id, caller, err, c.caller)
			}
			if got := c.m.NeedsIDMappedLayers(); got != c.idmapped {
				t.Errorf("NeedsIDMappedLayers() = %v", got)
			}
		})
	}
}

func TestIDsOutside(t *testing.T) {
	root, mapped, single := ForRoot(0x20000000), ForMapped(), ForSingle()
	for name, f := range map[string]func() (uint32, error){
		"root ToStore":       func() (uint32, error) { return root.ToStore(65536) },
		"root FromStore":     func() (uint32, error) { return root.FromStore(65536) },
		"root ToCaller":      func() (uint32, error) { return root.ToCaller(65536) },
		"mapped ToStore":     func() (uint32, error) { return mapped.ToStore(65536) },
		"mapped ToCaller":    func() (uint32, error) { return mapped.ToCaller(1 << 31) },
		"the user's own":     func() (uint32, error) { return mapped.FromStore(0) },
		"past the range":     func() (uint32, error) { return mapped.FromStore(65537) },
		"overflow":           func() (uint32, error) { return mapped.ToStore(1<<32 - 1) },
		"single's second id": func() (uint32, error) { return single.ToCaller(1) },
		"zero mapping":       func() (uint32, error) { return Mapping{}.ToStore(0) },
		"zero FromStore":     func() (uint32, error) { return Mapping{}.FromStore(0) },
	} {
		if id, err := f(); err == nil {
			t.Errorf("%s: %d and no error", name, id)
		}
	}
}

func TestSingleOwnsAll(t *testing.T) {
	for _, id := range []uint32{0, 1000, 65535, 1<<32 - 1} {
		to, errTo := ForSingle().ToStore(id)
		from, errFrom := ForSingle().FromStore(id)
		if to != 0 || from != 0 || errTo != nil || errFrom != nil {
			t.Errorf("id %d: stored as %d (%v), read as %d (%v); want 0", id, to, errTo, from, errFrom)
		}
	}
}
