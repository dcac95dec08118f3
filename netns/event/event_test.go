// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package event

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

func TestFlood(t *testing.T) {
	var got []Event
	r := NewRecorder("box", func(e Event) { got = append(got, e) })
	const n = 20000
	for i := range n {
		r.Record(Event{Kind: DNS, Verdict: Denied, Reason: fmt.Sprint("reason ", i%1000), Name: "x"})
	}
	r.Record(Event{Kind: Connect, Verdict: Allowed, Rule: "a.test:80"})
	r.Stop()
	if len(got) > 2*burst+2*maxKeys {
		t.Errorf("%d events for a flood", len(got))
	}
	var sum uint64
	allowed := 0
	for _, e := range got {
		if e.Verdict == Denied {
			sum += max(e.Count, 1)
		} else {
			allowed++
		}
		if e.Sandbox != "box" || e.Time.IsZero() {
			t.Fatalf("%+v", e)
		}
	}
	if sum != n || allowed != 1 {
		t.Errorf("%d denials and %d connections on record, want %d and 1", sum, allowed, n)
	}
	if r.ByRule()["a.test:80"] != 1 || len(r.Totals()) != 2 {
		t.Errorf("totals %v %v", r.Totals(), r.ByRule())
	}
	r.Record(Event{Kind: DNS, Verdict: Denied})
	if after := len(got); after != len(got) {
		t.Error("recorded after the stop")
	}
}

func TestJSON(t *testing.T) {
	out, err := json.Marshal(Event{Kind: Packet, Verdict: Denied, Port: 25})
	if err != nil {
		t.Fatal(err)
	}
	for _, absent := range []string{"upstream", "addr", "rule", "sent", "count"} {
		if strings.Contains(string(out), `"`+absent+`"`) {
			t.Errorf("%s holds an empty %s", out, absent)
		}
	}
}
