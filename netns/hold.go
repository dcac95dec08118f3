// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"sync"

	nl "github.com/mdlayher/netlink"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/netns/gateway"
)

// A connection that the kernel has accepted cannot be refused any more, only
// reset. So the first packet of one to a host of which nothing is known is held
// back: the packet filter drops it and tells of it, the gateway dials the host,
// and then the packet is put on the sandbox's link once more, where it is let
// through to the gateway or answered as the host would. What is known holds for a
// while (knownFor, fate), in which connections take the short way.
//
// If a packet is lost on this way, the program's kernel sends it again after a
// second.

// injector puts packets on the sandbox's link, as the sandbox's own.
type injector struct {
	fd    int
	index int
	head  [12]byte // of the frame: to the gateway, from the sandbox
}

// newInjector opens a socket in s.
func newInjector(t *thread, s *os.File, p Plan) (*injector, error) {
	i := &injector{}
	copy(i.head[:], append(append([]byte{}, p.Gateway.MAC...), p.Sandbox.MAC...))
	err := t.inside(s, func() error {
		err := withHandle(func(h *netlink.Handle) error {
			link, err := h.LinkByName(p.Sandbox.Name)
			if err == nil {
				i.index = link.Attrs().Index
			}
			return err
		})
		if err != nil {
			return err
		}
		// Protocol 0: it receives nothing.
		i.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("packet socket: %w", err)
	}
	return i, nil
}

func (i *injector) close() { _ = unix.Close(i.fd) }

// send sends a whole IP packet with a TCP segment. Where it cannot, the program's
// kernel will.
func (i *injector) send(packet []byte) {
	kind := uint16(unix.ETH_P_IP)
	if packet[0]>>4 == 6 {
		kind = unix.ETH_P_IPV6
	}
	frame := binary.BigEndian.AppendUint16(i.head[:len(i.head):len(i.head)], kind)
	_ = unix.Sendto(i.fd, append(frame, withChecksum(packet)...), unix.MSG_DONTWAIT, &unix.SockaddrLinklayer{Ifindex: i.index, Halen: 6})
}

// withChecksum returns the packet with its TCP checksum, which the kernel leaves
// to the interface, and a veth leaves out.
func withChecksum(packet []byte) []byte {
	out := append([]byte{}, packet...)
	at, pseudo := 40, out[8:40]
	if out[0]>>4 == 4 {
		at, pseudo = int(out[0]&15)*4, out[12:20]
	}
	segment := out[at:]
	sum := uint32(unix.IPPROTO_TCP) + uint32(len(segment))
	segment[16], segment[17] = 0, 0
	for _, part := range [][]byte{pseudo, segment} {
		for n := 0; n < len(part); n += 2 {
			sum += uint32(part[n]) << 8
			if n+1 < len(part) {
				sum += uint32(part[n+1])
			}
		}
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	binary.BigEndian.PutUint16(segment[16:], ^uint16(sum))
	return out
}

// holder has the packets that are held back.
type holder struct {
	log    *nl.Conn // tells of them
	inject *injector

	mu      sync.Mutex                  // guards what follows
	waiting map[netip.AddrPort][][]byte // by the address that is being dialled
}

// Bounds of what is held: addresses, and packets to each. What exceeds them comes
// again.
const (
	maxDialled = 64
	maxHeld    = 512
)

// begin takes note of a packet, and reports whether its address is to be dialled,
// as nobody does it.
func (h *holder) begin(p packet) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	all, busy := h.waiting[p.dst]
	if !busy && len(h.waiting) >= maxDialled {
		return false
	}
	if p.syn != nil && len(all) < maxHeld {
		all = append(all, p.syn)
	}
	h.waiting[p.dst] = all
	return !busy
}

// end returns the packets that were held for an address.
func (h *holder) end(dst netip.AddrPort) [][]byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := h.waiting[dst]
	delete(h.waiting, dst)
	return all
}

// hold starts to hold packets back. Without a packet socket none are: a host
// that refuses is then seen as one that resets.
func (n *Net) hold(s *os.File) error {
	if n.o.Learn {
		return nil // what is learnt is not dialled
	}
	inject, err := newInjector(n.t, s, n.plan)
	if err != nil {
		return nil //nolint:nilerr // see above
	}
	n.holder.mu.Lock()
	n.holder.inject = inject
	n.holder.mu.Unlock()
	n.fw.holdBack()
	return n.sync()
}

// held dials for a packet that was held back.
func (n *Net) held(ctx context.Context, p packet) {
	if !n.holder.begin(p) {
		return
	}
	n.wg.Go(func() {
		var err error
		v := n.gw.Probe(ctx, p.src, p.dst)
		switch v {
		case gateway.Pass:
			err = n.fw.known(p.dst)
		case gateway.Refuse:
			err = n.fw.failed(p.dst, true)
		case gateway.Unreach:
			err = n.fw.failed(p.dst, false)
		case gateway.Wait:
		}
		all := n.holder.end(p.dst)
		if err != nil || v == gateway.Wait {
			return
		}
		for _, syn := range all {
			n.holder.inject.send(syn)
		}
	})
}
