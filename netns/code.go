// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// code is what the kernel runs for a part of a rule. Each function below makes
// one part, text and code side by side. Registers are free between parts.
type code []expr.Any

const (
	reg = 1 // 16 bytes
	// Keys of two fields are laid out over registers of 4 bytes.
	reg32 = unix.NFT_REG32_00
)

func eq(data []byte) *expr.Cmp { return &expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: data} }

func interfaceName(name string) []byte {
	out := make([]byte, unix.IFNAMSIZ)
	copy(out, name)
	return out
}

func iif(name string) rule {
	return rule{fmt.Sprintf("iifname %q", name), code{&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: reg}, eq(interfaceName(name))}}
}

func oif(name string) rule {
	return rule{fmt.Sprintf("oifname %q", name), code{&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: reg}, eq(interfaceName(name))}}
}

func family(a netip.Addr) code {
	proto := byte(unix.NFPROTO_IPV4)
	if a.Is6() {
		proto = unix.NFPROTO_IPV6
	}
	return code{&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: reg}, eq([]byte{proto})}
}

// addressAt loads the source or destination of a packet of the family of a.
func addressAt(a netip.Addr, dst bool, register uint32) *expr.Payload {
	p := &expr.Payload{Base: expr.PayloadBaseNetworkHeader, DestRegister: register, Offset: 12, Len: 4}
	if a.Is6() {
		p.Offset, p.Len = 8, 16
	}
	if dst {
		p.Offset += p.Len
	}
	return p
}

func ip(a netip.Addr) string {
	if a.Is6() {
		return "ip6"
	}
	return "ip"
}

func source(a netip.Addr) rule {
	return rule{ip(a) + " saddr " + a.String(), append(family(a), addressAt(a, false, reg), eq(a.AsSlice()))}
}

func destination(a netip.Addr) rule {
	return rule{ip(a) + " daddr " + a.String(), append(family(a), addressAt(a, true, reg), eq(a.AsSlice()))}
}

func destinationIn(p netip.Prefix) rule {
	a := p.Masked().Addr()
	size := uint32(a.BitLen() / 8)
	mask := make([]byte, size)
	for i := range p.Bits() {
		mask[i/8] |= 0x80 >> (i % 8)
	}
	c := append(family(a), addressAt(a, true, reg))
	c = append(c, &expr.Bitwise{SourceRegister: reg, DestRegister: reg, Len: size, Mask: mask, Xor: make([]byte, size)}, eq(a.AsSlice()))
	return rule{ip(a) + " daddr " + p.String(), c}
}

func proto(name string, number byte) rule {
	return rule{"meta l4proto " + name, code{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg}, eq([]byte{number})}}
}

func tcp() rule { return proto("tcp", unix.IPPROTO_TCP) }
func udp() rule { return proto("udp", unix.IPPROTO_UDP) }

func loadDport(register uint32) *expr.Payload {
	return &expr.Payload{Base: expr.PayloadBaseTransportHeader, DestRegister: register, Offset: 2, Len: 2}
}

func dport(port uint16) rule {
	return rule{fmt.Sprintf("th dport %d", port), code{loadDport(reg), eq(bigEndian(port))}}
}

func bigEndian(port uint16) []byte { return binary.BigEndian.AppendUint16(nil, port) }

// inSet looks the destination and port up in a set of the family of a.
func inSet(a netip.Addr, set string) rule {
	second := uint32(reg32 + 1)
	if a.Is6() {
		second = reg32 + 4
	}
	c := append(family(a), addressAt(a, true, reg32), loadDport(second),
		&expr.Lookup{SourceRegister: reg32, SetName: set})
	return rule{fmt.Sprintf("%s daddr . th dport @%s", ip(a), set), c}
}

func dnat(to netip.Addr, port uint16) rule {
	proto := uint32(unix.NFPROTO_IPV4)
	if to.Is6() {
		proto = unix.NFPROTO_IPV6
	}
	return rule{fmt.Sprintf("dnat %s to %s", ip(to), netip.AddrPortFrom(to, port)), code{
		&expr.Immediate{Register: reg, Data: to.AsSlice()},
		&expr.Immediate{Register: reg + 1, Data: bigEndian(port)},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: proto, RegAddrMin: reg, RegProtoMin: reg + 1},
	}}
}

// bits matches if any bit of the mask is set in what load puts in reg.
func bits(load expr.Any, mask uint32) code {
	none := make([]byte, 4)
	return code{
		load,
		&expr.Bitwise{SourceRegister: reg, DestRegister: reg, Len: 4, Mask: binary.NativeEndian.AppendUint32(nil, mask), Xor: none},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: reg, Data: none},
	}
}

func state(name string) rule {
	bit := map[string]uint32{
		"new": expr.CtStateBitNEW, "established": expr.CtStateBitESTABLISHED, "related": expr.CtStateBitRELATED,
	}[name]
	return rule{"ct state " + name, bits(&expr.Ct{Key: expr.CtKeySTATE, Register: reg}, bit)}
}

func wasRedirected() rule {
	const dstNAT = 1 << 5 // IPS_DST_NAT
	return rule{"ct status dnat", bits(&expr.Ct{Key: expr.CtKeySTATUS, Register: reg}, dstNAT)}
}

func isReset() rule {
	const rst = 4
	flags := &expr.Payload{Base: expr.PayloadBaseTransportHeader, DestRegister: reg, Offset: 13, Len: 1}
	return rule{"tcp flags rst", code{
		flags, &expr.Bitwise{SourceRegister: reg, DestRegister: reg, Len: 1, Mask: []byte{rst}, Xor: []byte{0}},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: reg, Data: []byte{0}},
	}}
}

func isSYN() rule {
	const syn, mask = 2, 0x17 // of FIN, SYN, RST and ACK
	flags := &expr.Payload{Base: expr.PayloadBaseTransportHeader, DestRegister: reg, Offset: 13, Len: 1}
	return rule{"tcp flags syn / fin,syn,rst,ack", code{
		flags, &expr.Bitwise{SourceRegister: reg, DestRegister: reg, Len: 1, Mask: []byte{mask}, Xor: []byte{0}}, eq([]byte{syn}),
	}}
}

func icmpUnreachable(v6 bool) rule {
	r, typ := proto("icmp", unix.IPPROTO_ICMP), byte(3)
	if v6 {
		r, typ = proto("ipv6-icmp", unix.IPPROTO_ICMPV6), 1
	}
	name := strings.TrimPrefix(r.text, "meta l4proto ")
	if v6 {
		name = "icmpv6"
	}
	load := &expr.Payload{Base: expr.PayloadBaseTransportHeader, DestRegister: reg, Offset: 0, Len: 1}
	return rule{name + " type destination-unreachable", append(r.code, load, eq([]byte{typ}))}
}

func rateLimit(perSecond uint64, burst uint32) rule {
	return rule{
		fmt.Sprintf("limit rate %d/second burst %d packets", perSecond, burst),
		code{&expr.Limit{Type: expr.LimitTypePkts, Rate: perSecond, Unit: expr.LimitTimeSecond, Burst: burst}},
	}
}

// above matches what exceeds a rate.
func above(perSecond uint64, burst uint32) rule {
	return rule{
		fmt.Sprintf("limit rate over %d/second burst %d packets", perSecond, burst),
		code{&expr.Limit{Type: expr.LimitTypePkts, Rate: perSecond, Unit: expr.LimitTimeSecond, Burst: burst, Over: true}},
	}
}

func nflog(group uint16) rule {
	const most = 128 // bytes of a packet: its headers
	return rule{fmt.Sprintf("log group %d snaplen %d", group, most), code{
		&expr.Log{Key: 1<<unix.NFTA_LOG_GROUP | 1<<unix.NFTA_LOG_SNAPLEN, Group: group, Snaplen: most},
	}}
}

func counter() rule { return rule{"counter", code{&expr.Counter{}}} }

func verdict(text string, v *expr.Verdict) rule { return rule{text, code{v}} }

func accept() rule { return verdict("accept", &expr.Verdict{Kind: expr.VerdictAccept}) }

func drop() rule { return verdict("drop", &expr.Verdict{Kind: expr.VerdictDrop}) }

func jump(to string) rule {
	return verdict("jump "+to, &expr.Verdict{Kind: expr.VerdictJump, Chain: to})
}

func goTo(to string) rule {
	return verdict("goto "+to, &expr.Verdict{Kind: expr.VerdictGoto, Chain: to})
}

func rejectReset() rule {
	return rule{"reject with tcp reset", code{&expr.Reject{Type: unix.NFT_REJECT_TCP_RST}}}
}

func rejectProhibited() rule {
	return rule{"reject with icmpx admin-prohibited", code{
		&expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: unix.NFT_REJECT_ICMPX_ADMIN_PROHIBITED},
	}}
}

func rejectHost() rule {
	return rule{"reject with icmpx host-unreachable", code{
		&expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: unix.NFT_REJECT_ICMPX_HOST_UNREACH},
	}}
}
