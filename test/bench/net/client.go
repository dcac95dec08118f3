// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// client measures one thing from inside of the sandbox's namespace.
func client(args []string) (float64, error) {
	if len(args) < 2 {
		return 0, errors.New("want WHAT COUNT [TIME]")
	}
	count, err := strconv.Atoi(args[1])
	if err != nil {
		return 0, err
	}
	if args[0] == "first" {
		return smallRequests(count, 6*time.Millisecond, func(n int) string { return fmt.Sprintf("n%d-%d.%s", os.Getpid(), n, serverName) })
	}
	host, err := lookUp(serverName)
	if err != nil {
		return 0, err
	}
	switch args[0] {
	case "connect":
		return connect(host, count)
	case "small", "rare":
		pause := 6 * time.Millisecond
		if args[0] == "rare" {
			pause = 1100 * time.Millisecond
		}
		return smallRequests(count, pause, func(int) string { return serverName })
	}
	if len(args) < 3 {
		return 0, errors.New("want a TIME")
	}
	length, err := time.ParseDuration(args[2])
	if err != nil {
		return 0, err
	}
	switch args[0] {
	case "down", "up":
		return throughput(host, args[0], count, length)
	case "http", "https", "https-new":
		return requests(host, args[0], count, length)
	}
	return 0, fmt.Errorf("%q: unknown", args[0])
}

// lookUp finds the server: by name where there is a name server.
func lookUp(name string) (string, error) {
	dns := os.Getenv("CPC_BENCH_DNS")
	if dns == "" {
		return serverAddr, nil
	}
	var d net.Dialer
	r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return d.DialContext(ctx, network, net.JoinHostPort(dns, "53"))
	}}
	addrs, err := r.LookupNetIP(context.Background(), "ip4", name+".")
	if err != nil {
		return "", err
	}
	return addrs[0].String(), nil
}

// throughput is in Gbit/s, after a start that does not count. It is 0 where all
// connections stall, as old pastas' do.
func throughput(host, direction string, conns int, length time.Duration) (float64, error) {
	var bytes atomic.Int64
	var wg sync.WaitGroup
	defer wg.Wait()
	for range conns {
		c, err := net.DialTimeout("tcp", net.JoinHostPort(host, rawPort), 10*time.Second)
		if err != nil {
			return 0, err
		}
		defer func() { _ = c.Close() }()
		if _, err := c.Write([]byte(direction[:1])); err != nil {
			return 0, err
		}
		wg.Go(func() {
			buf := make([]byte, 256<<10)
			for {
				var n int
				var err error
				if direction == "down" {
					n, err = c.Read(buf)
				} else {
					n, err = c.Write(buf)
				}
				bytes.Add(int64(n))
				if err != nil {
					return
				}
			}
		})
	}
	time.Sleep(length / 4)
	before, begin := bytes.Load(), time.Now()
	time.Sleep(length)
	moved, took := bytes.Load()-before, time.Since(begin)
	return float64(moved) * 8 / took.Seconds() / 1e9, nil
}

// connect is the median in ms, with a pause between two so that none waits for
// another's end.
func connect(host string, count int) (float64, error) {
	var all []float64
	one := []byte("e")
	for range count {
		begin := time.Now()
		c, err := net.DialTimeout("tcp", net.JoinHostPort(host, rawPort), 10*time.Second)
		if err != nil {
			return 0, err
		}
		_ = c.SetDeadline(begin.Add(10 * time.Second)) // slirp4netns has lost a byte for ever
		if _, err := c.Write(one); err != nil {
			return 0, err
		}
		if _, err := io.ReadFull(c, one); err != nil {
			return 0, err
		}
		all = append(all, float64(time.Since(begin))/1e6)
		_ = c.Close()
		time.Sleep(6 * time.Millisecond)
	}
	slices.Sort(all)
	return all[len(all)/2], nil
}

// smallRequests is the median in ms of a question for a name, a connection there,
// and a request of HTTP on it. Without a name server there is no question.
func smallRequests(count int, pause time.Duration, name func(int) string) (float64, error) {
	var all []float64
	for n := range count {
		name := name(n)
		begin := time.Now()
		if err := smallRequest(name); err != nil {
			return 0, err
		}
		all = append(all, float64(time.Since(begin))/1e6)
		time.Sleep(pause)
	}
	slices.Sort(all)
	return all[len(all)/2], nil
}

func smallRequest(name string) error {
	host, err := lookUp(name)
	if err != nil {
		return err
	}
	c, err := net.DialTimeout("tcp", net.JoinHostPort(host, httpPort), 10*time.Second)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	if _, err := fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", name); err != nil {
		return err
	}
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, r.Body)
	return errors.Join(err, r.Body.Close())
}

// requests is in requests a second.
func requests(host, how string, workers int, length time.Duration) (float64, error) {
	var d net.Dialer
	scheme, port := "https", httpsPort
	if how == "http" {
		scheme, port = "http", httpPort
	}
	transport := &http.Transport{
		MaxIdleConnsPerHost: workers, DisableKeepAlives: how == "https-new",
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // the path is measured, not the certificate
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return d.DialContext(ctx, network, net.JoinHostPort(host, port))
		},
	}
	c := &http.Client{Transport: transport, Timeout: 20 * time.Second}
	defer transport.CloseIdleConnections()
	var done atomic.Int64
	var failed atomic.Value
	var wg sync.WaitGroup
	begin := time.Now()
	for range workers {
		wg.Go(func() {
			for time.Since(begin) < length {
				r, err := c.Get(scheme + "://" + serverName + "/")
				if err == nil {
					_, err = io.Copy(io.Discard, r.Body)
					_ = r.Body.Close()
				}
				if err != nil {
					failed.Store(err)
					return
				}
				done.Add(1)
			}
		})
	}
	wg.Wait()
	if err, ok := failed.Load().(error); ok {
		return 0, err
	}
	return float64(done.Load()) / time.Since(begin).Seconds(), nil
}
