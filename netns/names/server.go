// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package names

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/time/rate"

	"github.com/claude-pocket-console/cpc/internal/cpubudget"
	"github.com/claude-pocket-console/cpc/netns/event"
	"github.com/claude-pocket-console/cpc/netns/policy"
)

// Options of a Server. Policy, Pool and Record are needed.
type Options struct {
	Policy func() *policy.Policy
	Pool   *Pool
	Record func(event.Event)
	// Budget bounds the processor time of the work; nil is without a bound.
	Budget *cpubudget.Budget
	// PerSecond bounds the questions that are answered; 0 means 2000. What
	// exceeds it is dropped and counted.
	PerSecond int
	// All has every name answered, so that the gateway can record what a
	// program would connect to.
	All bool
}

// Server answers questions. Its methods are safe for concurrent use.
type Server struct {
	o     Options
	limit *rate.Limiter
	conns chan struct{} // a token for each TCP connection
}

const (
	maxConns  = 16
	idle      = 10 * time.Second
	pause     = 10 * time.Millisecond // after an error that may pass
	ttl       = 60                    // seconds
	negative  = 5                     // seconds
	udpSize   = 1232
	maxUDP    = 4096 // larger questions are malformed
	questions = 2000
)

// NewServer returns a server; ServeUDP and ServeTCP run it.
func NewServer(o Options) *Server {
	if o.PerSecond == 0 {
		o.PerSecond = questions
	}
	return &Server{o: o, limit: rate.NewLimiter(rate.Limit(o.PerSecond), o.PerSecond), conns: make(chan struct{}, maxConns)}
}

// ServeUDP answers on a socket until the context ends or the socket is closed.
// It closes the socket.
func (s *Server) ServeUDP(ctx context.Context, c net.PacketConn) error {
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	defer c.Close()
	buf := make([]byte, maxUDP)
	for {
		if s.o.Budget.Wait(ctx) != nil {
			return nil
		}
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return nil
			}
			if !isPassing(err) {
				return fmt.Errorf("name server: %w", err)
			}
			time.Sleep(pause)
			continue
		}
		if answer := s.answer(buf[:n], false); answer != nil {
			// The program that asked may be gone; the next question matters.
			_, _ = c.WriteTo(answer, from)
		}
	}
}

// isPassing reports whether an error belongs to an earlier datagram.
func isPassing(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && !errors.Is(err, io.EOF)
}

// ServeTCP answers on the connections of a listener until the context ends or
// the listener is closed. It closes the listener and waits for them.
func (s *Server) ServeTCP(ctx context.Context, l net.Listener) error {
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	defer l.Close()
	for {
		if s.o.Budget.Wait(ctx) != nil {
			return nil
		}
		c, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return nil
			}
			select { // out of descriptors, most likely
			case <-ctx.Done():
			case <-time.After(pause):
			}
			continue
		}
		select {
		case s.conns <- struct{}{}:
			wg.Go(func() {
				defer func() { <-s.conns }()
				stop := context.AfterFunc(ctx, func() { _ = c.Close() })
				defer stop()
				s.serveConn(ctx, c)
			})
		default:
			_ = c.Close()
		}
	}
}

func (s *Server) serveConn(ctx context.Context, c net.Conn) {
	defer c.Close()
	var length [2]byte
	buf := make([]byte, maxUDP)
	for {
		if s.o.Budget.Wait(ctx) != nil {
			return
		}
		if c.SetDeadline(time.Now().Add(idle)) != nil {
			return
		}
		if _, err := io.ReadFull(c, length[:]); err != nil {
			return
		}
		n := int(binary.BigEndian.Uint16(length[:]))
		if n > len(buf) {
			return
		}
		if _, err := io.ReadFull(c, buf[:n]); err != nil {
			return
		}
		answer := s.answer(buf[:n], true)
		if answer == nil {
			return
		}
		out := binary.BigEndian.AppendUint16(make([]byte, 0, len(answer)+2), uint16(len(answer)))
		if _, err := c.Write(append(out, answer...)); err != nil {
			return
		}
	}
}

// answer returns the reply to a packet, or nil when there is none to give.
func (s *Server) answer(packet []byte, tcp bool) (out []byte) {
	// The parser is well tested, but the packet is hostile and this process
	// holds the sandbox.
	defer func() {
		if recover() != nil {
			out = nil
		}
	}()
	if !s.limit.Allow() {
		s.record(event.Event{Verdict: event.Denied, Reason: "too many questions"})
		return nil
	}
	var q dns.Msg
	if err := q.Unpack(packet); err != nil {
		return malformed(packet)
	}
	if q.Response {
		return nil
	}
	r := s.reply(&q)
	size := dns.MaxMsgSize
	if !tcp {
		size = dns.MinMsgSize
		if opt := q.IsEdns0(); opt != nil {
			size = min(max(int(opt.UDPSize()), dns.MinMsgSize), udpSize)
		}
	}
	r.Truncate(size)
	out, err := r.Pack()
	if err != nil {
		return malformed(packet)
	}
	return out
}

// malformed is a FORMERR for a packet of which only the header can be read.
func malformed(packet []byte) []byte {
	const header = 12
	if len(packet) < header || packet[2]&0x80 != 0 {
		return nil
	}
	out := make([]byte, header)
	copy(out, packet[:2])
	out[2] = 0x80 | packet[2]&0x79 // QR, the question's opcode and RD
	out[3] = dns.RcodeFormatError
	return out
}

func (s *Server) record(e event.Event) {
	e.Kind = event.DNS
	e.Version = s.o.Policy().Version()
	s.o.Record(e)
}

func addr(a netip.Addr) net.IP { return a.AsSlice() }
