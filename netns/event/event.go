// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Package event is the record of what a sandbox's network decided: one typed
// event a decision, as JSON, bounded in number however much a sandbox asks.
//
// A Recorder is safe for concurrent use. It calls its output from whichever
// goroutine records, one call at a time, so the output must not block or
// record itself.
package event

import (
	"maps"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Kind is what was decided about.
type Kind string

const (
	DNS     Kind = "dns"     // a question to the name server
	Packet  Kind = "packet"  // a packet that the packet filter refused
	Connect Kind = "connect" // a connection at the gateway
	Close   Kind = "close"   // the end of an allowed connection
	Policy  Kind = "policy"  // a new version of the policy
)

// Verdict is what was decided.
type Verdict string

const (
	Allowed Verdict = "allowed"
	Denied  Verdict = "denied"
	// Failed: allowed, but the host could not be reached.
	Failed Verdict = "failed"
)

// Event is one decision, or a number of like ones.
type Event struct {
	Time    time.Time `json:"time"`
	Kind    Kind      `json:"kind"`
	Verdict Verdict   `json:"verdict"`
	Sandbox string    `json:"sandbox"`
	// Version is the policy's, Rule the id of the rule that decided.
	Version int    `json:"policy"`
	Rule    string `json:"rule,omitempty"`
	Preset  string `json:"preset,omitempty"`
	// Name is the host as the policy knows it, Addr where the sandbox
	// connected to, Upstream the address that was dialled.
	Name     string         `json:"name,omitempty"`
	Addr     netip.Addr     `json:"addr,omitzero"`
	Port     uint16         `json:"port,omitempty"`
	Upstream netip.AddrPort `json:"upstream,omitzero"`
	Proto    string         `json:"proto,omitempty"`
	// Source is the sandbox's end of the connection.
	Source netip.AddrPort `json:"source,omitzero"`
	// Said is the SNI or Host that the program sent, Query the type of a
	// question.
	Said    string `json:"said,omitempty"`
	Query   string `json:"query,omitempty"`
	Reason  string `json:"reason,omitempty"`
	Process string `json:"process,omitempty"`
	// Sent and Received count bytes from the sandbox's point of view.
	Sent     uint64        `json:"sent,omitempty"`
	Received uint64        `json:"received,omitempty"`
	Duration time.Duration `json:"duration_ns,omitempty"`
	// Count is how many decisions the event stands for, when not one. Only
	// what they have in common is set.
	Count uint64 `json:"count,omitempty"`
}

// Limits of what is written singly; what exceeds them is counted.
const (
	perSecond = 50
	burst     = 500
	// maxKeys bounds how many kinds of like events are told apart.
	maxKeys = 64
	flush   = time.Second
)

type key struct {
	kind    Kind
	verdict Verdict
	rule    string
	reason  string
	version int
}

// Total counts decisions of one kind with one verdict.
type Total struct {
	Kind    Kind    `json:"kind"`
	Verdict Verdict `json:"verdict"`
	Count   uint64  `json:"count"`
}

// Recorder writes the events of one sandbox.
type Recorder struct {
	sandbox string

	mu      sync.Mutex // guards what follows, and calls of out
	out     func(Event)
	limits  map[Verdict]*rate.Limiter
	held    map[key]uint64
	timer   *time.Timer
	totals  map[Total]uint64 // keyed by kind and verdict, Count 0
	byRule  map[string]uint64
	stopped bool
}

// NewRecorder returns a recorder that gives its events to out; nil only
// counts.
func NewRecorder(sandbox string, out func(Event)) *Recorder {
	if out == nil {
		out = func(Event) {}
	}
	return &Recorder{
		sandbox: sandbox, out: out, limits: map[Verdict]*rate.Limiter{},
		held: map[key]uint64{}, totals: map[Total]uint64{}, byRule: map[string]uint64{},
	}
}

// Record writes the event, or counts it if there are too many: then an event
// with a Count follows within a second. Denials do not use up the room of
// what is allowed. Time and Sandbox are filled in.
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
	l := r.limits[e.Verdict]
	if l == nil {
		l = rate.NewLimiter(perSecond, burst)
		r.limits[e.Verdict] = l
	}
	if l.Allow() {
		r.write(e)
		return
	}
	k := key{e.Kind, e.Verdict, e.Rule, e.Reason, e.Version}
	if _, ok := r.held[k]; !ok && len(r.held) >= maxKeys {
		k = key{kind: e.Kind, verdict: e.Verdict}
	}
	r.held[k] += n
	if r.timer == nil {
		r.timer = time.AfterFunc(flush, r.Flush)
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
	r.flush()
}

func (r *Recorder) flush() {
	if r.timer != nil {
		r.timer.Stop()
		r.timer = nil
	}
	for k, n := range r.held {
		r.write(Event{Kind: k.kind, Verdict: k.verdict, Rule: k.rule, Reason: k.reason, Version: k.version, Count: n})
	}
	clear(r.held)
}

// Stop flushes; what is recorded later is counted only.
func (r *Recorder) Stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.flush()
	r.stopped = true
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
