// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package event

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
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

// TestConnectionsAreKept: no number of questions, packets or refusals takes a
// connection off the record, and with too many connections the name, address, port
// and bytes of each are in the sums.
func TestConnectionsAreKept(t *testing.T) {
	synctest.Test(t, keepsConnections) // in one moment, however long it takes
}

func keepsConnections(t *testing.T) {
	t.Helper()
	var got []Event
	r := NewRecorder("box", func(e Event) { got = append(got, e) })
	const questions, connections, names = 20000, 5000, 700
	addr := netip.MustParseAddr("198.18.1.1")
	for i := range questions {
		r.Record(Event{Kind: DNS, Verdict: Allowed, Name: "good.test"})
		r.Record(Event{Kind: Packet, Verdict: Denied, Addr: addr, Port: uint16(i)})
		r.Record(Event{Kind: Connect, Verdict: Denied, Name: fmt.Sprintf("no-%d.test", i%3000), Port: 80})
		if i < connections {
			e := Event{Name: fmt.Sprintf("secret-%d.wild.test", i%names), Addr: addr, Port: 22, Rule: "*.wild.test:22", Verdict: Allowed}
			e.Kind = Connect
			r.Record(e)
			e.Kind, e.Sent, e.Received = Close, 1000, 10
			r.Record(e)
		}
	}
	r.Flush()
	count, sent := map[string]uint64{}, map[string]uint64{}
	for _, e := range got {
		if e.Kind != Close {
			continue
		}
		if e.Port != 22 || !e.Addr.IsValid() {
			t.Fatalf("%+v", e)
		}
		count[e.Name] += max(e.Count, 1)
		sent[e.Name] += e.Sent
	}
	for i := range names {
		name := fmt.Sprintf("secret-%d.wild.test", i)
		want := uint64((connections - i + names - 1) / names)
		if count[name] != want || sent[name] != 1000*want {
			t.Fatalf("%s: %d connections, %d bytes; want %d, %d", name, count[name], sent[name], want, 1000*want)
		}
	}
	if len(got) > 6*burst+maxConns+4*maxKeys+2*names {
		t.Errorf("%d events", len(got))
	}
}

// TestTotalsAtTheEnd: with more connections than a log keeps, the end has what
// went to each destination.
func TestTotalsAtTheEnd(t *testing.T) {
	for _, n := range []int{100, manyConns + 1, 3 * maxDestinations} {
		var summed, connections uint64
		var got []Event
		r := NewRecorder("box", func(e Event) { got = append(got, e) })
		for i := range n {
			r.Record(Event{Kind: Close, Verdict: Allowed, Name: fmt.Sprintf("n%d.wild.test", i%(2*maxDestinations)), Port: 443, Rule: "*.wild.test", Sent: 7})
		}
		r.Stop()
		for _, e := range got {
			if e.Kind == Summary {
				summed += e.Sent
				connections += e.Count
			}
		}
		if n <= manyConns && summed != 0 || n > manyConns && (summed != 7*uint64(n) || connections != uint64(n)) {
			t.Errorf("%d connections: %d with %d bytes in the summary", n, connections, summed)
		}
		if len(r.ends) > maxDestinations+1 {
			t.Errorf("%d destinations", len(r.ends))
		}
	}
}

// TestNoiseStaysSmall: what is no connection does not fill a log, however long it
// goes on; each is counted.
func TestNoiseStaysSmall(t *testing.T) {
	var got []Event
	r := NewRecorder("box", func(e Event) { got = append(got, e) })
	const n = 500000
	for i := range n {
		r.Record(Event{Kind: DNS, Verdict: Allowed, Name: "good.test", Rule: fmt.Sprint(i % 500)})
		if i%1000 == 0 {
			r.flushSoon() // as each second
		}
	}
	if len(got) > burst+maxNoise/1000*2*maxKeys+1000 {
		t.Errorf("%d events", len(got))
	}
	r.Stop()
	var sum uint64
	for _, e := range got {
		sum += max(e.Count, 1)
	}
	if sum != n {
		t.Errorf("%d of %d on record", sum, n)
	}
}

// TestSums: at any time there is what each destination has had, of connections
// that have ended and of open ones; to ask changes nothing.
func TestSums(t *testing.T) {
	r := NewRecorder("box", nil)
	at := netip.MustParseAddr("198.18.1.7")
	ended := Event{Kind: Close, Verdict: Allowed, Name: "a.test", Addr: at, Port: 443, Sent: 7, Received: 8}
	for range 1000 { // most of which are held back
		r.Record(ended)
	}
	open := ended
	open.Sent = 100
	for range 2 {
		got := r.Sums([]Event{open, {Kind: Close, Verdict: Allowed, Addr: at, Port: 22, Received: 9}})
		if len(got) != 2 {
			t.Fatalf("%+v", got)
		}
		for _, e := range got {
			want := Event{Kind: Summary, Verdict: Allowed, Sandbox: "box", Time: e.Time, Addr: at, Port: 22, Received: 9, Count: 1}
			if e.Port == 443 {
				want.Name, want.Port, want.Count, want.Sent, want.Received = "a.test", 443, 1001, 7100, 8008
			}
			if e != want || e.Time.IsZero() {
				t.Errorf("%+v, want %+v", e, want)
			}
		}
	}
}
