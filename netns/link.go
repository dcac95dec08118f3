// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// connectLinks makes the veth between R and S and configures both ends. What
// it has made is gone again if it fails, as either end takes the other along.
func connectLinks(t *thread, r, s *os.File, p Plan) error {
	err := t.inside(r, func() error {
		return withHandle(func(h *netlink.Handle) error {
			veth := &netlink.Veth{
				LinkAttrs: netlink.LinkAttrs{Name: p.Gateway.Name, MTU: p.MTU, HardwareAddr: p.Gateway.MAC},
				PeerName:  p.Sandbox.Name, PeerHardwareAddr: p.Sandbox.MAC, PeerMTU: uint32(p.MTU),
				PeerNamespace: netlink.NsFd(s.Fd()),
			}
			if err := h.LinkAdd(veth); err != nil {
				return fmt.Errorf("add veth: %w", err)
			}
			return nil
		})
	})
	if err != nil {
		return fmt.Errorf("gateway: %w", err)
	}
	// R's end first: S never has a way out that R does not filter, and the
	// filter is there already.
	if err := configure(t, r, p.Gateway, p.Sandbox, true); err != nil {
		return errors.Join(fmt.Errorf("gateway: %w", err), disconnect(t, r, p))
	}
	if err := configure(t, s, p.Sandbox, p.Gateway, false); err != nil {
		return errors.Join(fmt.Errorf("sandbox: %w", err), disconnect(t, r, p))
	}
	if err := awaitUp(t, r, p.Gateway.Name); err != nil {
		return errors.Join(fmt.Errorf("gateway: %w", err), disconnect(t, r, p))
	}
	return nil
}

// awaitUp waits until an end that was up before its peer can send. The kernel
// learns of the carrier in its own time (net/core/link_watch.c), and drops what
// is sent until then: a first answer of the name server would be lost.
func awaitUp(t *thread, ns *os.File, name string) error {
	const most, pause = 5 * time.Second, time.Millisecond
	return t.inside(ns, func() error {
		return withHandle(func(h *netlink.Handle) error {
			for range most / pause {
				link, err := h.LinkByName(name)
				if err != nil {
					return fmt.Errorf("find %s: %w", name, err)
				}
				if link.Attrs().OperState == netlink.OperUp {
					return nil
				}
				time.Sleep(pause)
			}
			return fmt.Errorf("%s has no carrier", name)
		})
	})
}

// disconnect removes the veth.
func disconnect(t *thread, r *os.File, p Plan) error {
	return t.inside(r, func() error {
		return withHandle(func(h *netlink.Handle) error {
			link, err := h.LinkByName(p.Gateway.Name)
			if _, ok := errors.AsType[netlink.LinkNotFoundError](err); ok {
				return nil
			}
			if err != nil {
				return fmt.Errorf("find %s: %w", p.Gateway.Name, err)
			}
			return h.LinkDel(link)
		})
	})
}

// withHandle runs f with a netlink socket of the thread's namespace.
func withHandle(f func(h *netlink.Handle) error) error {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("netlink socket: %w", err)
	}
	defer h.Close()
	return f(h)
}

func configure(t *thread, ns *os.File, own, other End, gateway bool) error {
	return t.inside(ns, func() error {
		if gateway {
			settle()
		}
		return withHandle(func(h *netlink.Handle) error {
			link, err := h.LinkByName(own.Name)
			if err != nil {
				return fmt.Errorf("find %s: %w", own.Name, err)
			}
			if gateway {
				// Who is where is known: nobody is asked, nobody is believed.
				err = h.LinkSetARPOff(link)
			} else {
				err = loopbackUp(h)
			}
			if err != nil {
				return err
			}
			if err := h.LinkSetUp(link); err != nil {
				return fmt.Errorf("bring %s up: %w", own.Name, err)
			}
			for _, a := range [][2]netip.Prefix{{own.V4, other.V4}, {own.V6, other.V6}} {
				if !a[0].IsValid() {
					continue
				}
				e := endpoint{h, link, a[0], a[1].Addr(), other.MAC}
				if err := e.add(!gateway); err != nil {
					if !gateway && a[0].Addr().Is6() && noIPv6(err) {
						continue // switched off in the sandbox: then without
					}
					return fmt.Errorf("%s: %w", own.Name, err)
				}
			}
			return nil
		})
	})
}

// settle sets what R takes over from the host, or has by default. No promise
// hangs on it: the packet filter lets nothing through in any case; answers to
// refused packets may be fewer, and a flood remembered for longer, where this
// cannot be written.
func settle() {
	for name, value := range map[string]string{
		"ipv4/ip_forward":     "0",
		"ipv4/icmp_ratelimit": "0", // refuse at once, each time
		"ipv6/icmp/ratelimit": "0",
		// What half-open connections, those that have ended and questions leave
		// behind for minutes by default. The other end is the next interface.
		"netfilter/nf_conntrack_tcp_timeout_syn_recv":  "5",
		"netfilter/nf_conntrack_tcp_timeout_close":     "2",
		"netfilter/nf_conntrack_tcp_timeout_time_wait": "5",
		"netfilter/nf_conntrack_udp_timeout":           "5",
		"netfilter/nf_conntrack_udp_timeout_stream":    "5",
	} {
		_ = os.WriteFile("/proc/sys/net/"+name, []byte(value), 0)
	}
}

func noIPv6(err error) bool {
	return errors.Is(err, unix.EACCES) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EAFNOSUPPORT)
}

func loopbackUp(h *netlink.Handle) error {
	lo, err := h.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find lo: %w", err)
	}
	if err := h.LinkSetUp(lo); err != nil {
		return fmt.Errorf("bring lo up: %w", err)
	}
	return nil
}

// endpoint is one address of an end and the other end's, which is its only
// neighbour.
type endpoint struct {
	h     *netlink.Handle
	link  netlink.Link
	own   netip.Prefix
	other netip.Addr
	mac   net.HardwareAddr
}

func (e endpoint) add(route bool) error {
	bits := e.own.Addr().BitLen()
	addr := &netlink.Addr{IPNet: &net.IPNet{IP: e.own.Addr().AsSlice(), Mask: net.CIDRMask(e.own.Bits(), bits)}}
	if bits == 128 {
		addr.Flags = unix.IFA_F_NODAD // usable at once
	}
	if err := e.h.AddrAdd(e.link, addr); err != nil {
		return fmt.Errorf("add address %s: %w", e.own, err)
	}
	index := e.link.Attrs().Index
	neigh := &netlink.Neigh{
		LinkIndex: index, State: netlink.NUD_PERMANENT,
		IP: e.other.AsSlice(), HardwareAddr: e.mac, Family: familyOf(e.other),
	}
	if err := e.h.NeighSet(neigh); err != nil {
		return fmt.Errorf("set neighbour %s: %w", e.other, err)
	}
	if !route {
		return nil
	}
	if err := e.h.RouteAdd(&netlink.Route{LinkIndex: index, Gw: e.other.AsSlice(), Family: familyOf(e.other)}); err != nil {
		return fmt.Errorf("add route via %s: %w", e.other, err)
	}
	return nil
}

func familyOf(a netip.Addr) int {
	if a.Is6() {
		return unix.AF_INET6
	}
	return unix.AF_INET
}
