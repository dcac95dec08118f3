// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Command net measures the network of a sandbox against a plain kernel veth with
// NAT, pasta and slirp4netns: the same client and the same server, in namespaces
// of their own, one after the other in every round. It runs as root, and sends
// nothing to any other network.
//
//	S (client) ── contender ── H (this program) ── veth ── W (server)
//
// Every link has the MTU of 1500.
package main

import (
	"flag"
	"fmt"
	"math"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The environment in which this program runs itself again.
const (
	envRole  = "CPC_BENCH_NET"
	asHost   = "host"
	asHolder = "holder" // keeps a namespace
	asServer = "server"
	asClient = "client"
)

func main() {
	rounds := flag.Int("n", 5, "rounds")
	length := flag.Duration("t", time.Second, "length of one measurement")
	only := flag.String("only", "", "measure only what has this in its name")
	cpc := flag.String("cpc", "", "a cpc, of which a sandbox is compared with the host, and nothing else")
	image := flag.String("image", "debian:trixie-slim", "the image of that sandbox")
	flag.Parse()
	var err error
	if *cpc != "" {
		err = runCompare(*rounds, *cpc, *image)
	} else {
		err = run(*rounds, *length, *only, flag.Args())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1) //nolint:forbidigo // this is main
	}
}

func run(rounds int, length time.Duration, only string, args []string) error {
	switch os.Getenv(envRole) {
	case asHost:
		return measure(rounds, length, only)
	case asHolder:
		return hold()
	case asServer:
		return serve()
	case asClient:
		value, err := client(args)
		if err == nil {
			fmt.Fprintln(os.Stdout, strconv.FormatFloat(value, 'g', -1, 64))
		}
		return err
	}
	cmd := self(asHost, os.Args[1:]...)
	// A user namespace too: as root outside of one, pasta gives up the rights
	// that it needs here. The ids are the machine's own, for /dev/net/tun.
	cmd.SysProcAttr.Cloneflags = unix.CLONE_NEWUSER | unix.CLONE_NEWNET | unix.CLONE_NEWNS
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1 << 16}}
	cmd.SysProcAttr.UidMappings, cmd.SysProcAttr.GidMappings = ids, ids
	cmd.SysProcAttr.GidMappingsEnableSetgroups = true
	cmd.Stdout = os.Stdout
	return cmd.Run()
}

// runCompare has compare run in namespaces of its own, as root of the host.
func runCompare(rounds int, cpc, image string) error {
	if os.Getenv(envRole) == asHost {
		runtime.LockOSThread() // children end with the thread that starts them
		return compare(rounds, cpc, image)
	}
	cmd := self(asHost, os.Args[1:]...)
	cmd.SysProcAttr.Cloneflags = unix.CLONE_NEWNET | unix.CLONE_NEWNS
	cmd.Stdout = os.Stdout
	return cmd.Run()
}

// hold keeps a namespace as long as there is the process that started this one,
// which is pasta for its own.
func hold() error {
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return err
	}
	time.Sleep(1 << 62)
	return nil
}

// self runs this program again.
func self(role string, args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), envRole+"="+role)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	return cmd
}

// measure prints a table for each thing to measure.
func measure(rounds int, length time.Duration, only string) error {
	// Children end with the thread that starts them.
	runtime.LockOSThread()
	// Nothing that a contender mounts gets out.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("mounts: %w", err)
	}
	w, err := newWorld()
	if err != nil {
		return err
	}
	defer w.close()
	all, err := w.contenders()
	if err != nil {
		return err
	}
	for _, m := range metrics(length) {
		if !strings.Contains(m.name, only) {
			continue
		}
		values := make([][]float64, len(all))
		for round := range rounds {
			for i := range all {
				i = (i + round) % len(all) // nobody always comes first
				v, err := all[i].measure(m)
				if err != nil {
					err = fmt.Errorf("%s: %s: %w", all[i].name, m.name, err)
					if !all[i].peer {
						return err
					}
					// A peer that stalls has no figure in this round.
					fmt.Fprintln(os.Stderr, "bench:", err)
					v = math.NaN()
				}
				values[i] = append(values[i], v)
			}
		}
		fmt.Fprintf(os.Stdout, "\n%s, %d rounds\n%s", m.name, rounds, table(all, values, m))
	}
	fmt.Fprintf(os.Stdout, "\nmemory of an idle sandbox's network\n")
	for _, c := range all {
		fmt.Fprintf(os.Stdout, "  %-14s %s\n", c.name, c.memory())
	}
	return nil
}

// metric is one thing to measure.
type metric struct {
	name, unit string
	args       []string // of the client
}

func metrics(length time.Duration) []metric {
	t := length.String()
	return []metric{
		{"throughput of one connection, to the sandbox", "Gbit/s", []string{"down", "1", t}},
		{"throughput of eight connections, to the sandbox", "Gbit/s", []string{"down", "8", t}},
		{"throughput of one connection, from the sandbox", "Gbit/s", []string{"up", "1", t}},
		{"throughput of eight connections, from the sandbox", "Gbit/s", []string{"up", "8", t}},
		{"connect and one byte answered, median of 50", "ms", []string{"connect", "50"}},
		{"name, connection and small HTTP request, median of 50", "ms", []string{"small", "50"}},
		{"the same every 1.1 s, median of 5", "ms", []string{"rare", "5"}},
		{"the same for a host of which nothing is known, median of 20", "ms", []string{"first", "20"}},
		{"HTTP, 8 connections kept open", "requests/s", []string{"http", "8", t}},
		{"HTTPS, 8 connections kept open", "requests/s", []string{"https", "8", t}},
		{"HTTPS, a connection each", "requests/s", []string{"https-new", "8", t}},
	}
}

// table shows medians, and the ratio to the first of the same round, without
// the rounds that failed (NaN).
func table(all []*contender, values [][]float64, m metric) string {
	var b strings.Builder
	for i, c := range all {
		var got, ratios []float64
		for n, v := range values[i] {
			if !math.IsNaN(v) {
				got, ratios = append(got, v), append(ratios, v/values[0][n])
			}
		}
		failed := ""
		if n := len(values[i]) - len(got); n > 0 {
			failed = fmt.Sprintf("  %d rounds failed", n)
		}
		if len(got) == 0 {
			fmt.Fprintf(&b, "  %-14s         -%s\n", c.name, failed)
			continue
		}
		fmt.Fprintf(&b, "  %-14s %9.2f %-10s %6.2f (%.2f … %.2f)%s\n", c.name, at(got, 0.5), m.unit,
			at(ratios, 0.5), at(ratios, 0.25), at(ratios, 0.75), failed)
	}
	return b.String()
}
