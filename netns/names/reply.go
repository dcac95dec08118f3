// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package names

import (
	"errors"
	"net/netip"
	"strconv"
	"strings"

	"github.com/miekg/dns"

	"github.com/claude-pocket-console/cpc/netns/event"
	"github.com/claude-pocket-console/cpc/netns/policy"
)

// reply answers one message, which parsed and is a question.
func (s *Server) reply(q *dns.Msg) *dns.Msg {
	r := new(dns.Msg)
	r.SetReply(q)
	r.RecursionAvailable = true
	r.Compress = true
	if opt := q.IsEdns0(); opt != nil {
		r.SetEdns0(udpSize, false)
		if opt.Version() != 0 {
			r.Question = nil
			r.Rcode = dns.RcodeBadVers
			return r
		}
	}
	switch {
	case q.Opcode != dns.OpcodeQuery:
		r.Rcode = dns.RcodeNotImplemented
	case len(q.Question) != 1:
		r.Question = nil
		r.Rcode = dns.RcodeFormatError
	case q.Question[0].Qclass != dns.ClassINET:
		r.Rcode = dns.RcodeRefused
	case q.Question[0].Qtype == dns.TypeAXFR || q.Question[0].Qtype == dns.TypeIXFR:
		r.Rcode = dns.RcodeRefused
	default:
		s.resolve(r, q.Question[0])
	}
	return r
}

// resolve fills in the answer to one question.
func (s *Server) resolve(r *dns.Msg, q dns.Question) {
	if strings.HasSuffix(strings.ToLower(q.Name), ".arpa.") {
		s.reverse(r, q)
		return
	}
	e := event.Event{Query: typeName(q.Qtype), Name: clip(q.Name)}
	host, err := policy.ParseHost(q.Name)
	if err != nil || host.IsAddr() {
		e.Verdict, e.Reason = event.Denied, "not a host name"
		s.deny(r, e)
		return
	}
	e.Name = host.Name
	if host.Name == "localhost" || strings.HasSuffix(host.Name, ".localhost") { // RFC 6761, 6.3
		answer(r, q, netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback())
		return
	}
	p := s.o.Policy()
	if !s.o.All && !p.Knows(host.Name) {
		d := p.Decide(host, 443)
		e.Verdict, e.Rule, e.Preset, e.Reason = event.Denied, d.Rule, d.Preset, d.Reason
		s.deny(r, e)
		return
	}
	entry, err := s.o.Pool.Of(host.Name)
	if err != nil {
		r.Rcode = dns.RcodeServerFailure
		e.Verdict, e.Reason = event.Failed, "no address for the name"
		if errors.Is(err, ErrFull) {
			e.Reason = ErrFull.Error()
		}
		s.record(e)
		return
	}
	if !answer(r, q, entry.V4, entry.V6) {
		r.Ns = soa(q)
	}
	e.Verdict, e.Addr = event.Allowed, entry.V4
	s.record(e)
}

// answer adds the record of the question's type, if there is one. HTTPS and
// SVCB have none, so no program is offered ECH or HTTP/3.
func answer(r *dns.Msg, q dns.Question, v4, v6 netip.Addr) bool {
	head := dns.RR_Header{Name: q.Name, Rrtype: q.Qtype, Class: dns.ClassINET, Ttl: ttl}
	switch {
	case q.Qtype == dns.TypeA && v4.IsValid():
		r.Answer = append(r.Answer, &dns.A{Hdr: head, A: addr(v4)})
	case q.Qtype == dns.TypeAAAA && v6.IsValid():
		r.Answer = append(r.Answer, &dns.AAAA{Hdr: head, AAAA: addr(v6)})
	default:
		return false
	}
	return true
}

func (s *Server) deny(r *dns.Msg, e event.Event) {
	r.Rcode = dns.RcodeNameError
	r.Ns = soa(r.Question[0])
	s.record(e)
}

// soa tells resolvers how long a negative answer holds: shortly, as the
// policy can change.
func soa(q dns.Question) []dns.RR {
	return []dns.RR{&dns.SOA{
		Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeSOA, Class: q.Qclass, Ttl: negative},
		Ns:  "invalid.", Mbox: "invalid.", Serial: 1, Refresh: 1, Retry: 1, Expire: 1, Minttl: negative,
	}}
}

// reverse answers for the addresses of the pool.
func (s *Server) reverse(r *dns.Msg, q dns.Question) {
	e := event.Event{Query: typeName(q.Qtype), Name: clip(q.Name), Verdict: event.Denied, Reason: "not an address of a name"}
	a, ok := fromArpa(strings.ToLower(q.Name))
	if !ok {
		s.deny(r, e)
		return
	}
	e.Addr = a
	name, ok := s.o.Pool.Lookup(a)
	if !ok || !s.o.Policy().Knows(name) {
		s.deny(r, e)
		return
	}
	if q.Qtype == dns.TypePTR {
		head := dns.RR_Header{Name: q.Name, Rrtype: dns.TypePTR, Class: dns.ClassINET, Ttl: ttl}
		r.Answer = append(r.Answer, &dns.PTR{Hdr: head, Ptr: dns.Fqdn(name)})
	} else {
		r.Ns = soa(q)
	}
	e.Verdict, e.Reason, e.Name = event.Allowed, "", name
	s.record(e)
}

// fromArpa reads a whole address from its reverse name (RFC 1035, 3.5 and
// RFC 3596, 2.5).
func fromArpa(name string) (netip.Addr, bool) {
	if rest, ok := strings.CutSuffix(name, ".in-addr.arpa."); ok {
		labels := strings.Split(rest, ".")
		if len(labels) != 4 {
			return netip.Addr{}, false
		}
		a, err := netip.ParseAddr(labels[3] + "." + labels[2] + "." + labels[1] + "." + labels[0])
		return a, err == nil
	}
	rest, ok := strings.CutSuffix(name, ".ip6.arpa.")
	if !ok || len(rest) != 63 {
		return netip.Addr{}, false
	}
	var raw [16]byte
	for i := range 32 {
		if i > 0 && rest[2*i-1] != '.' {
			return netip.Addr{}, false
		}
		n, err := strconv.ParseUint(rest[2*i:2*i+1], 16, 8)
		if err != nil {
			return netip.Addr{}, false
		}
		raw[15-i/2] |= byte(n) << (4 * uint(i%2))
	}
	return netip.AddrFrom16(raw), true
}

func typeName(t uint16) string {
	if name, ok := dns.TypeToString[t]; ok {
		return name
	}
	return "TYPE" + strconv.Itoa(int(t))
}

// clip shortens what a sandbox said for the record.
func clip(s string) string {
	const most = 128
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}
