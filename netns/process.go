// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
	"golang.org/x/time/rate"
)

// processes tells which program of a sandbox a connection belongs to. It is a
// help for who reads the record, not a base of decisions: the answer is empty
// when it cannot be found in reasonable time, and a program can pass its
// sockets on.
type processes struct {
	proc  string // where the sandbox's processes can be seen
	ns    string // what /proc/PID/ns/net of the sandbox's processes links to
	limit *rate.Limiter

	mu   sync.Mutex // guards what follows
	diag *netlink.Conn
	last string // the pid that was found last
}

// Bounds of a search. A sandbox has 100 processes unless told otherwise.
const (
	maxProcesses   = 1024
	maxDescriptors = 1024
	perSecond      = 50
)

// newProcesses opens a socket in s that answers for its connections.
func newProcesses(t *thread, s *os.File) (*processes, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(s.Fd()), &st); err != nil {
		return nil, fmt.Errorf("sandbox's sockets: %w", err)
	}
	p := &processes{proc: "/proc", ns: fmt.Sprintf("net:[%d]", st.Ino), limit: rate.NewLimiter(perSecond, perSecond)}
	err := t.inside(s, func() (err error) {
		p.diag, err = netlink.Dial(unix.NETLINK_SOCK_DIAG, nil)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("sandbox's sockets: %w", err)
	}
	return p, nil
}

// of names the process that holds the sandbox's end of a connection, as its
// name and its pid as the caller sees it.
func (p *processes) of(src, dst netip.AddrPort) string {
	if !p.limit.Allow() {
		return ""
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	inode, err := p.inode(src, dst)
	if err != nil || inode == 0 {
		return ""
	}
	want := fmt.Sprintf("socket:[%d]", inode)
	if p.last != "" && p.holds(p.last, want) {
		return p.name(p.last)
	}
	for _, pid := range entries(p.proc, maxProcesses) {
		if _, err := strconv.Atoi(pid); err == nil && p.holds(pid, want) {
			p.last = pid
			return p.name(pid)
		}
	}
	return ""
}

// inode asks the kernel for the one socket of a connection. (A dump, which
// libraries offer, walks the table of all of them: half a millisecond.)
func (p *processes) inode(src, dst netip.AddrPort) (uint32, error) {
	// struct inet_diag_req_v2, see sock_diag(7).
	request := make([]byte, 8, 56)
	request[0], request[1] = unix.AF_INET6, unix.IPPROTO_TCP
	if src.Addr().Is4() {
		request[0] = unix.AF_INET
	}
	binary.NativeEndian.PutUint32(request[4:], 1<<32-1) // in any state
	request = binary.BigEndian.AppendUint16(request, src.Port())
	request = binary.BigEndian.AppendUint16(request, dst.Port())
	for _, a := range []netip.Addr{src.Addr(), dst.Addr()} {
		request = append(request, append(a.AsSlice(), make([]byte, 16-a.BitLen()/8)...)...)
	}
	request = binary.NativeEndian.AppendUint32(request, 0)       // by any interface
	request = binary.NativeEndian.AppendUint64(request, 1<<64-1) // without a cookie
	const inodeAt = 68                                           // in struct inet_diag_msg
	replies, err := p.diag.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.SOCK_DIAG_BY_FAMILY, Flags: netlink.Request}, Data: request,
	})
	if err != nil {
		return 0, err
	}
	for _, r := range replies {
		if len(r.Data) >= inodeAt+4 && r.Data[0] == request[0] {
			return binary.NativeEndian.Uint32(r.Data[inodeAt:]), nil
		}
	}
	return 0, unix.ENOENT
}

// holds reports whether a process of the sandbox has the socket.
func (p *processes) holds(pid, socket string) bool {
	if ns, err := os.Readlink(p.proc + "/" + pid + "/ns/net"); err != nil || ns != p.ns {
		return false
	}
	dir := p.proc + "/" + pid + "/fd"
	for _, fd := range entries(dir, maxDescriptors) {
		if link, err := os.Readlink(dir + "/" + fd); err == nil && link == socket {
			return true
		}
	}
	return false
}

// name is what the process calls itself, which can be anything.
func (p *processes) name(pid string) string {
	raw, err := os.ReadFile(p.proc + "/" + pid + "/comm")
	if err != nil {
		return pid
	}
	return strings.TrimSuffix(string(raw), "\n") + "[" + pid + "]"
}

func (p *processes) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.diag.Close()
}

// entries lists at most most entries of a directory.
func entries(dir string, most int) []string {
	d, err := os.Open(dir)
	if err != nil {
		return nil
	}
	defer d.Close()
	out, err := d.Readdirnames(most)
	if err != nil {
		return nil
	}
	return out
}
