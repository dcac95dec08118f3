// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/claude-pocket-console/cpc/netns/event"
	"github.com/claude-pocket-console/cpc/netns/policy"
)

// Smallest returns the rules of the smallest policy that would have allowed
// every connection among the events, in order.
func Smallest(events []event.Event) []string {
	ports := map[policy.Host][]uint16{}
	for _, e := range events {
		if e.Kind != event.Connect || e.Port == 0 || e.Name == "" && !e.Addr.IsValid() {
			continue
		}
		h, err := policy.ParseHost(e.Name)
		if err != nil {
			h = policy.Host{Addr: e.Addr}
		}
		if !slices.Contains(ports[h], e.Port) {
			ports[h] = append(ports[h], e.Port)
		}
	}
	var out []string
	for h, p := range ports {
		slices.Sort(p)
		r := policy.Rule{Name: h.Name, Ports: p}
		if h.IsAddr() {
			r.Prefix = netip.PrefixFrom(h.Addr, h.Addr.BitLen())
		}
		out = append(out, fmt.Sprint(r))
	}
	slices.Sort(out)
	return out
}
