// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package event

import "maps"

// maxDestinations bounds the destinations whose totals are told apart. Beyond it
// connections count for their rule.
const maxDestinations = 4096

// destinations are the totals of the connections to each destination.
type destinations map[key]*sum

// add adds the end of a connection.
func (d destinations) add(e Event) {
	k := key{to: destination{name: e.Name, port: e.Port}, rule: e.Rule}
	if e.Name == "" {
		k.to.addr = e.Addr
	}
	s := d[k]
	if s == nil {
		if len(d) >= maxDestinations {
			k = key{rule: e.Rule} // of a wildcard or range, mostly
		}
		if s = d[k]; s == nil {
			s = &sum{}
			d[k] = s
		}
	}
	s.add(e)
}

func (d destinations) clone() destinations {
	out := maps.Clone(d)
	for k, s := range out {
		one := *s
		out[k] = &one
	}
	return out
}

// events returns one event a destination, with the addresses of the latest
// connection there.
func (d destinations) events() []Event {
	out := make([]Event, 0, len(d))
	for _, k := range sortedKeys(d) {
		s := d[k]
		k.kind, k.verdict = Summary, Allowed
		if k.to != (destination{}) {
			k.to.addr, k.to.upstream = s.addr, s.upstream
		}
		out = append(out, k.event(s))
	}
	return out
}
