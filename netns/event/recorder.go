// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package event

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Limits of what is written singly, for each kind and verdict; what exceeds them
// is counted.
const (
	perSecond = 50
	burst     = 500
	flush     = time.Second
	// maxKeys bounds how many kinds of like events are told apart.
	maxKeys = 64
	// maxConns bounds the destinations of connections that are told apart between
	// two flushes. A gateway accepts fewer connections than that.
	maxConns = 2048
)

// What is no connection is noise, of which a log has the first of each kind, and
// then so little that weeks of it do not push connections out.
const (
	maxNoise   = 5000
	noiseRate  = 0.2
	noiseBurst = 10
	noiseFlush = 5 * time.Minute
)

// manyConns is how many events of connections a log surely keeps: with more, the
// totals of destinations are written at the end.
const manyConns = 10000

// key is what events that are held back have in common.
type key struct {
	kind    Kind
	verdict Verdict
	rule    string
	reason  string
	version int
	to      destination // of a connection
}

// destination is where connections went.
type destination struct {
	name     string
	addr     netip.Addr
	port     uint16
	upstream netip.AddrPort
}

// sum is what like events amount to, and where the last one went.
type sum struct {
	count, sent, received uint64
	addr                  netip.Addr
	upstream              netip.AddrPort
}

func (s *sum) add(e Event) {
	s.count += max(e.Count, 1)
	s.addr, s.upstream = e.Addr, e.Upstream
	s.sent += e.Sent
	s.received += e.Received
}

// limitKey names a limit: no kind of event uses up another's.
type limitKey struct {
	kind    Kind
	verdict Verdict
}

// limited is the limit of one kind with one verdict.
type limited struct {
	*rate.Limiter
	seen int
	held int // keys that are held back
}

// Recorder writes the events of one sandbox.
type Recorder struct {
	sandbox string

	mu      sync.Mutex // guards what follows, and calls of out
	out     func(Event)
	limits  map[limitKey]*limited
	held    map[key]*sum
	timer   *time.Timer
	noisy   *time.Timer
	totals  map[Total]uint64 // keyed by kind and verdict, Count 0
	byRule  map[string]uint64
	ends    destinations // of connections that have ended
	ended   uint64
	seen    int // events of connections
	stopped bool
}

// NewRecorder returns a recorder that gives its events to out; nil only
// counts.
func NewRecorder(sandbox string, out func(Event)) *Recorder {
	if out == nil {
		out = func(Event) {}
	}
	return &Recorder{
		sandbox: sandbox, out: out, limits: map[limitKey]*limited{}, held: map[key]*sum{},
		totals: map[Total]uint64{}, byRule: map[string]uint64{}, ends: destinations{},
	}
}

// connection reports whether an event is one of a connection, which is never
// dropped from the record.
func (e Event) connection() bool { return e.Kind == Connect || e.Kind == Close }

// Record writes the event, or counts it if there are too many of its kind and
// verdict: then an event with a Count follows, within a second for connections
// and until then for other kinds as long as there are few. Time and Sandbox are
// filled in.
func (r *Recorder) Record(e Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := max(e.Count, 1)
	r.totals[Total{Kind: e.Kind, Verdict: e.Verdict}] += n
	if e.Rule != "" && e.Kind == Connect && (len(r.byRule) < maxRules || r.byRule[e.Rule] > 0) {
		r.byRule[e.Rule] += n
	}
	if r.stopped {
		return
	}
	if e.connection() {
		r.seen++
	}
	if e.Kind == Close {
		r.ended += n
		r.ends.add(e)
	}
	if l := r.limit(e); l == nil || l.Allow() {
		r.write(e)
		return
	}
	r.hold(e)
}

// limit returns the limit that the event counts for; nil is none, for what
// people do.
func (r *Recorder) limit(e Event) *limited {
	if e.Kind == Policy {
		return nil
	}
	k := limitKey{e.Kind, e.Verdict}
	l := r.limits[k]
	if l == nil {
		l = &limited{Limiter: rate.NewLimiter(perSecond, burst)}
		r.limits[k] = l
	}
	if l.seen++; l.seen == maxNoise && !e.connection() {
		l.Limiter = rate.NewLimiter(noiseRate, noiseBurst)
	}
	return l
}

// quiet reports whether there was so much of an event's kind that it waits for
// long.
func (r *Recorder) quiet(e Event) bool {
	l := r.limits[limitKey{e.Kind, e.Verdict}]
	return !e.connection() && l != nil && l.seen >= maxNoise
}

// hold counts an event that follows in a sum.
func (r *Recorder) hold(e Event) {
	k := key{kind: e.Kind, verdict: e.Verdict, rule: e.Rule, reason: e.Reason, version: e.Version}
	most := maxKeys
	if e.connection() {
		k.to, most = destination{e.Name, e.Addr, e.Port, e.Upstream}, maxConns
	}
	quiet := r.quiet(e)
	s := r.held[k]
	if l := r.limits[limitKey{e.Kind, e.Verdict}]; s == nil {
		if quiet || l.held >= most {
			k = key{kind: e.Kind, verdict: e.Verdict}
		}
		if s = r.held[k]; s == nil {
			s = &sum{}
			r.held[k] = s
			l.held++
		}
	}
	s.add(e)
	switch {
	case quiet && r.noisy == nil:
		r.noisy = time.AfterFunc(noiseFlush, r.Flush)
	case !quiet && r.timer == nil:
		r.timer = time.AfterFunc(flush, r.flushSoon)
	}
}

// maxRules bounds the counters by rule.
const maxRules = 8192

func (r *Recorder) write(e Event) {
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	e.Sandbox = r.sandbox
	r.out(e)
}

// Flush writes what was held back as counts.
func (r *Recorder) Flush() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.flush(func(key) bool { return true })
}

// flushSoon writes what does not wait for long.
func (r *Recorder) flushSoon() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.timer = nil
	r.flush(func(k key) bool { return !r.quiet(Event{Kind: k.kind, Verdict: k.verdict}) })
}

func (r *Recorder) flush(which func(key) bool) {
	all := true
	for _, k := range sortedKeys(r.held) {
		if !which(k) {
			all = false
			continue
		}
		e := k.event(r.held[k])
		delete(r.held, k)
		r.limits[limitKey{k.kind, k.verdict}].held--
		r.write(e)
	}
	if !all {
		return
	}
	for _, t := range []**time.Timer{&r.timer, &r.noisy} {
		if *t != nil {
			(*t).Stop()
			*t = nil
		}
	}
}

// sortedKeys has starts before ends.
func sortedKeys(of map[key]*sum) []key {
	return slices.SortedFunc(maps.Keys(of), func(a, b key) int {
		order := func(k key) int { return slices.Index([]Kind{DNS, Packet, Connect, Close}, k.kind) }
		return cmp.Or(cmp.Compare(order(a), order(b)), strings.Compare(a.to.name, b.to.name), a.to.addr.Compare(b.to.addr), cmp.Compare(a.to.port, b.to.port))
	})
}

func (k key) event(s *sum) Event {
	return Event{
		Kind: k.kind, Verdict: k.verdict, Rule: k.rule, Reason: k.reason, Version: k.version,
		Name: k.to.name, Addr: k.to.addr, Port: k.to.port, Upstream: k.to.upstream,
		Count: s.count, Sent: s.sent, Received: s.received,
	}
}

// Stop flushes; what is recorded later is counted only.
func (r *Recorder) Stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopped {
		return
	}
	r.flush(func(key) bool { return true })
	if r.seen > manyConns {
		for _, e := range r.ends.events() {
			r.write(e)
		}
	}
	r.stopped = true
}

// Ended returns how many connections have ended.
func (r *Recorder) Ended() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ended
}

// Sums returns what each destination has had, connections that are still open
// included: those are given as the ends that they would have now.
func (r *Recorder) Sums(open []Event) []Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.ends.clone()
	for _, e := range open {
		all.add(e)
	}
	out := all.events()
	now := time.Now()
	for i := range out {
		out[i].Time, out[i].Sandbox = now, r.sandbox
	}
	return out
}

// Totals returns how many decisions there were, written or not.
func (r *Recorder) Totals() []Total {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]Total, 0, len(r.totals))
	for t, n := range r.totals {
		t.Count = n
		out = append(out, t)
	}
	return out
}

// ByRule returns how many connections each rule has decided.
func (r *Recorder) ByRule() map[string]uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make(map[string]uint64, len(r.byRule))
	maps.Copy(out, r.byRule)
	return out
}
