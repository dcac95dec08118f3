// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const mtu = 1500

// world is H, this process's own namespace, with the server behind a veth. It
// owns the processes that it starts.
type world struct {
	started []*exec.Cmd
}

func newWorld() (_ *world, err error) {
	w := &world{}
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	if err := up("lo"); err != nil {
		return nil, err
	}
	pid, err := w.holder()
	if err != nil {
		return nil, err
	}
	if err := w.link(pid, end{"host0", "10.1.0.1/16"}, end{"server0", serverAddr + "/16"}, ""); err != nil {
		return nil, err
	}
	// What looks for the host's interface finds it by the default route.
	if err := addDefault("host0", serverAddr); err != nil {
		return nil, err
	}
	server := self(asServer)
	out, err := server.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if _, err := server.StdinPipe(); err != nil { // whose end ends the server
		return nil, err
	}
	if err := w.start(pid, server); err != nil {
		return nil, err
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		return nil, errors.Join(fmt.Errorf("server: %q", line), err)
	}
	return w, nameServer()
}

// nameServer has this process's mount namespace ask the server for names.
func nameServer() error {
	file, err := os.CreateTemp("", "cpc-bench-")
	if err != nil {
		return err
	}
	_, err = file.WriteString("nameserver " + serverAddr + "\n")
	if err = errors.Join(err, file.Close()); err == nil {
		err = unix.Mount(file.Name(), "/etc/resolv.conf", "", unix.MS_BIND, "")
	}
	return errors.Join(err, os.Remove(file.Name()))
}

func (w *world) close() {
	for _, cmd := range w.started {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
}

// holder starts a process in a network namespace of its own.
func (w *world) holder() (int, error) {
	cmd := self(asHolder)
	cmd.SysProcAttr.Cloneflags = unix.CLONE_NEWNET
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	w.started = append(w.started, cmd)
	return cmd.Process.Pid, w.inside(cmd.Process.Pid, func() error { return up("lo") })
}

// start starts a program in the namespace of a process, until the end.
func (w *world) start(pid int, cmd *exec.Cmd) error {
	// The thread that starts it ends, which must not be taken for its parent's.
	cmd.SysProcAttr.Pdeathsig = 0
	err := w.inside(pid, cmd.Start)
	if err == nil {
		w.started = append(w.started, cmd)
	}
	return err
}

// inside calls f on a thread in the network namespace of a process.
func (w *world) inside(pid int, f func() error) error {
	result := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends
		ns, err := os.Open("/proc/" + strconv.Itoa(pid) + "/ns/net")
		if err == nil {
			err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET)
			_ = ns.Close()
		}
		if err == nil {
			err = f()
		}
		result <- err
	}()
	return <-result
}

// end is an interface with its address; "" has none.
type end struct{ name, prefix string }

// link joins H and the namespace of a process, where gateway is the way out.
func (w *world) link(pid int, here, there end, gateway string) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = here.name, mtu
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: there.name, PeerNamespace: netlink.NsPid(pid)}
	if err := netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("veth %s: %w", here.name, err)
	}
	if err := configure(here); err != nil {
		return err
	}
	return w.inside(pid, func() error {
		if err := configure(there); err != nil || gateway == "" {
			return err
		}
		return addDefault(there.name, gateway)
	})
}

func configure(e end) error {
	l, err := netlink.LinkByName(e.name)
	if err != nil {
		return fmt.Errorf("%s: %w", e.name, err)
	}
	addr, err := netlink.ParseAddr(e.prefix)
	if err == nil {
		err = netlink.AddrAdd(l, addr)
	}
	if err == nil {
		err = netlink.LinkSetMTU(l, mtu)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", e.name, err)
	}
	return up(e.name)
}

func up(name string) error {
	l, err := netlink.LinkByName(name)
	if err == nil {
		err = netlink.LinkSetUp(l)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

func addDefault(name, gateway string) error {
	l, err := netlink.LinkByName(name)
	if err == nil {
		err = netlink.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Gw: net.IP(netip.MustParseAddr(gateway).AsSlice())})
	}
	if err != nil {
		return fmt.Errorf("route by %s: %w", gateway, err)
	}
	return nil
}

// resident is what a process holds in memory, its part of shared pages
// included, as smaps_rollup has it.
func resident(pid int) (string, error) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/smaps_rollup")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(data)) {
		if kib, ok := strings.CutPrefix(line, "Pss:"); ok {
			n, err := strconv.Atoi(strings.Fields(kib)[0])
			return fmt.Sprintf("%.1f MB", float64(n)/1024), err
		}
	}
	return "", errors.New("no Pss")
}
