// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/netns"
	"github.com/claude-pocket-console/cpc/netns/event"
	"github.com/claude-pocket-console/cpc/netns/gateway"
	"github.com/claude-pocket-console/cpc/netns/policy"
)

// contender is a way from the client's namespace to the server.
type contender struct {
	name   string
	peer   bool // another's program, which may fail
	w      *world
	pid    int    // of a process in the client's namespace
	dns    string // name server there; "" takes the server's address
	memory func() string
}

// measure runs the client once.
func (c *contender) measure(m metric) (float64, error) {
	cmd := self(asClient, m.args...)
	cmd.Env = append(cmd.Env, "CPC_BENCH_DNS="+c.dns)
	cmd.SysProcAttr.Pdeathsig = 0 // the thread that starts it ends
	var out, errors strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errors
	if err := c.w.inside(c.pid, cmd.Start); err != nil {
		return 0, err
	}
	if err := cmd.Wait(); err != nil {
		return 0, fmt.Errorf("%w: %s", err, strings.TrimSpace(errors.String()))
	}
	return strconv.ParseFloat(strings.TrimSpace(out.String()), 64)
}

// contenders sets all of them up; a program that is not installed is left out.
func (w *world) contenders() (all []*contender, err error) {
	for _, open := range []func() (*contender, error){w.veth, w.gateway, w.pasta, w.slirp} {
		c, err := open()
		if errors.Is(err, exec.ErrNotFound) {
			fmt.Fprintln(os.Stderr, "bench: left out:", err)
			continue
		}
		if err != nil {
			return nil, err
		}
		c.w = w
		all = append(all, c)
	}
	return all, nil
}

// veth is what root has: a veth, forwarding and masquerading in the kernel.
func (w *world) veth() (*contender, error) {
	pid, err := w.holder()
	if err != nil {
		return nil, err
	}
	if err := w.link(pid, end{"nat0", "10.7.0.1/24"}, end{"eth0", "10.7.0.2/24"}, "10.7.0.1"); err != nil {
		return nil, err
	}
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0); err != nil {
		return nil, err
	}
	c := &nftables.Conn{}
	t := c.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: "nat"})
	chain := c.AddChain(&nftables.Chain{Name: "out", Table: t, Type: nftables.ChainTypeNAT, Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource})
	c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: []expr.Any{
		&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: append([]byte("host0"), make([]byte, unix.IFNAMSIZ-len("host0"))...)},
		&expr.Masq{},
	}})
	if err := c.Flush(); err != nil {
		return nil, fmt.Errorf("masquerade: %w", err)
	}
	return &contender{name: "veth and NAT", pid: pid, dns: serverAddr, memory: func() string { return "no process" }}, nil
}

// gateway is cpc's, in this process.
func (w *world) gateway() (*contender, error) {
	pid, err := w.holder()
	if err != nil {
		return nil, err
	}
	n, err := openNet(pid)
	if err != nil {
		return nil, err
	}
	dns := n.Plan().Gateway.V4.Addr().String()
	return &contender{name: "cpc", pid: pid, dns: dns, memory: func() string {
		size, err := w.more(10)
		if err != nil {
			return err.Error()
		}
		return size
	}}, nil
}

// more says what one more network costs: the mean of some.
func (w *world) more(count int) (string, error) {
	before := anonymous()
	for range count {
		pid, err := w.holder()
		if err == nil {
			_, err = openNet(pid)
		}
		if err != nil {
			return "", err
		}
	}
	size := float64(anonymous()-before) / float64(count) / (1 << 20)
	return fmt.Sprintf("%.2f MB more in the monitor, which is there in any case", size), nil
}

// anonymous is the memory in use by this process, garbage aside.
func anonymous() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}

// openNet connects the namespace of a process as a sandbox's.
func openNet(pid int) (*netns.Net, error) {
	var rules []string
	for _, port := range []string{rawPort, httpPort, httpsPort} {
		rules = append(rules, serverName+":"+port, "*."+serverName+":"+port, "10.1.0.0/16:"+port)
	}
	p, err := policy.New(rules, nil)
	if err != nil {
		return nil, err
	}
	n, err := netns.Open(netns.Options{
		Sandbox: "bench", Policy: p, Events: func(event.Event) {},
		Limits: gateway.Limits{PerSecond: 1 << 20}, // the limit of new connections is not what is measured
	})
	if err != nil {
		return nil, err
	}
	ns, err := netns.OfProcess(pid)
	if err != nil {
		return nil, err
	}
	defer func() { _ = ns.Close() }()
	return n, n.Connect(ns)
}

// pasta copies between the frames of a tap device and sockets. It makes the
// namespace itself, with this program in it: it gives up the right to look into
// those of others.
func (w *world) pasta() (*contender, error) {
	cmd := exec.Command("pasta", "--quiet", "--foreground", "--config-net", "--mtu", strconv.Itoa(mtu), "--ipv4-only", "--ns-ifname", "eth0",
		"--tcp-ports", "none", "--udp-ports", "none", "--tcp-ns", "none", "--udp-ns", "none", "--no-map-gw", "--", "/proc/self/exe")
	if self, err := os.Executable(); err == nil {
		cmd.Args[len(cmd.Args)-1] = self
	}
	cmd.Env = append(os.Environ(), envRole+"="+asHolder)
	return w.tap(cmd, func() (pid int, err error) {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", cmd.Process.Pid, cmd.Process.Pid))
		if err == nil {
			_, err = fmt.Sscan(string(data), &pid)
		}
		return pid, err
	})
}

// slirp is slirp4netns, a TCP stack in user space.
func (w *world) slirp() (*contender, error) {
	pid, err := w.holder()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command("slirp4netns", "--configure", "--mtu="+strconv.Itoa(mtu), "--disable-host-loopback", strconv.Itoa(pid), "tap0")
	return w.tap(cmd, func() (int, error) { return pid, nil })
}

// tap starts a program that serves a tap device in the namespace of a process.
func (w *world) tap(cmd *exec.Cmd, holder func() (int, error)) (*contender, error) {
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	w.started = append(w.started, cmd)
	c := &contender{name: filepath.Base(cmd.Path), peer: true, w: w, memory: func() string {
		size, err := resident(cmd.Process.Pid)
		if err != nil {
			return err.Error()
		}
		return size
	}}
	var err error
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if c.pid, err = holder(); err != nil {
			continue
		}
		if _, err = c.measure(metric{args: []string{"connect", "1"}}); err == nil {
			return c, nil
		}
	}
	return nil, fmt.Errorf("%s: %w", c.name, err)
}

// at is the value that a part of all values is below.
func at(values []float64, part float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[int(part*float64(len(sorted)-1)+0.5)]
}
