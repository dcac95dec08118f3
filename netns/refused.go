// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// packet is what the packet filter tells of one that it refused.
type packet struct {
	src, dst netip.AddrPort
	proto    string
	syn      []byte // the whole of it, if it begins a TCP connection and was not cut
}

// Messages and attributes of nfnetlink_log (linux/netfilter/nfnetlink_log.h).
const (
	nflogPacket   = unix.NFNL_SUBSYS_ULOG << 8
	nflogConfig   = unix.NFNL_SUBSYS_ULOG<<8 | 1
	nflogCommand  = 1
	nflogBind     = 1
	nflogMode     = 2
	nflogThresh   = 5
	nflogCopyPkt  = 2
	nflogPayload  = 9
	nflogSnaplen  = 128
	nfgenmsgBytes = 4
)

// refusedPackets opens a log of packets of R, by its group.
func refusedPackets(t *thread, r *os.File, group uint16) (*netlink.Conn, error) {
	var c *netlink.Conn
	err := t.inside(r, func() (err error) {
		c, err = netlink.Dial(unix.NETLINK_NETFILTER, nil)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("log of refused packets: %w", err)
	}
	mode := binary.BigEndian.AppendUint32(nil, nflogSnaplen)
	mode = append(mode, nflogCopyPkt, 0)
	for _, a := range []netlink.Attribute{
		{Type: nflogCommand, Data: []byte{nflogBind}},
		{Type: nflogMode, Data: mode},
		// Each at once: the kernel holds them for a second otherwise, and the
		// sandbox may be gone by then.
		{Type: nflogThresh, Data: binary.BigEndian.AppendUint32(nil, 1)},
	} {
		attr, err := netlink.MarshalAttributes([]netlink.Attribute{a})
		if err != nil {
			return nil, errors.Join(err, c.Close())
		}
		head := []byte{unix.AF_UNSPEC, 0, byte(group >> 8), byte(group)}
		m := netlink.Message{
			Header: netlink.Header{Type: nflogConfig, Flags: netlink.Request | netlink.Acknowledge},
			Data:   append(head, attr...),
		}
		if _, err := c.Execute(m); err != nil {
			return nil, errors.Join(fmt.Errorf("log of refused packets: %w", err), c.Close())
		}
	}
	return c, nil
}

// readRefused gives each packet to f until reading fails, as it does when the
// log is closed. It waits for a share of the budget before each; the kernel drops
// meanwhile what is too much.
func readRefused(c *netlink.Conn, f func(packet), wait func() error) error {
	for {
		if err := wait(); err != nil {
			return err
		}
		messages, err := c.Receive()
		if errors.Is(err, unix.ENOBUFS) {
			continue // too many at once; the counter has them
		}
		if err != nil {
			return fmt.Errorf("log of refused packets: %w", err)
		}
		for _, m := range messages {
			if m.Header.Type != nflogPacket || len(m.Data) < nfgenmsgBytes {
				continue
			}
			attrs, err := netlink.UnmarshalAttributes(m.Data[nfgenmsgBytes:])
			if err != nil {
				continue
			}
			for _, a := range attrs {
				if a.Type == nflogPayload {
					if p, ok := parsePacket(a.Data); ok {
						f(p)
					}
				}
			}
		}
	}
}

// parsePacket reads the head of an IP packet, which the sandbox has made.
func parsePacket(b []byte) (p packet, ok bool) {
	if len(b) == 0 {
		return p, false
	}
	var src, dst netip.Addr
	var next byte
	whole, size := b, 0
	switch b[0] >> 4 {
	case 4:
		head := int(b[0]&15) * 4
		if head < 20 || len(b) < head {
			return p, false
		}
		size = int(binary.BigEndian.Uint16(b[2:]))
		src, dst, next = netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20])), b[9]
		b = b[head:]
	case 6:
		if len(b) < 40 {
			return p, false
		}
		src, dst, next = netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40])), b[6]
		size = 40 + int(binary.BigEndian.Uint16(b[4:]))
		b = b[40:]
	default:
		return p, false
	}
	var from, to uint16
	switch next {
	case unix.IPPROTO_TCP:
		p.proto = "tcp"
	case unix.IPPROTO_UDP:
		p.proto = "udp"
	case unix.IPPROTO_ICMP, unix.IPPROTO_ICMPV6:
		p.proto = "icmp"
	default:
		p.proto = "protocol " + strconv.Itoa(int(next))
	}
	if (p.proto == "tcp" || p.proto == "udp") && len(b) >= 4 {
		from, to = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	}
	if p.proto == "tcp" && len(b) >= 20 && size == len(whole) {
		p.syn = slices.Clone(whole)
	}
	p.src, p.dst = netip.AddrPortFrom(src, from), netip.AddrPortFrom(dst, to)
	return p, true
}
