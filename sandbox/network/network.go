// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Package network gives a sandbox, or a step of a build, its network: the
// gateway with its policy, and the files by which programs find hosts and trust
// them.
//
// It joins packages netns and bundle for those who make sandboxes, which are
// the monitor and the build's step runner. Whoever calls Open owns the Net.
package network

import (
	"fmt"
	"net/url"
	"runtime"
	"strings"

	"golang.org/x/net/http/httpproxy"

	"github.com/claude-pocket-console/cpc/internal/cpubudget"
	"github.com/claude-pocket-console/cpc/netns"
	"github.com/claude-pocket-console/cpc/netns/event"
	"github.com/claude-pocket-console/cpc/netns/gateway"
	"github.com/claude-pocket-console/cpc/netns/policy"
)

// Options are what was asked of a network. The zero value lets nothing out.
type Options struct {
	// Policy is what an allowlist lets out.
	Policy policy.Spec `json:"policy"`
	// Learn has the gateway record what would be reached.
	Learn bool            `json:"learn,omitempty"`
	Hosts []netns.AddHost `json:"hosts,omitempty"` // of --add-host
	DNS   DNS             `json:"dns"`
	// HostCA is the host's CA bundle that the sandbox is given.
	HostCA CA `json:"hostCA,omitzero"`
	// Proxy is what the gateway dials through. See Private.
	Proxy Proxy `json:"-"`
	// Asked are the flags that say what Policy does, for hints.
	Asked []string `json:"-"`
}

// CA is a bundle of authorities as it was read. The zero value is none.
type CA struct {
	Path string `json:"path"` // where from
	Text string `json:"-"`    // in PEM; see Private
}

// Private is what Options have that is not to be on disk: proxies may have
// passwords, and the text of a CA bundle is large. It goes to another process apart.
type Private struct {
	Proxy  Proxy  `json:"proxy"`
	HostCA string `json:"hostCA,omitempty"` // in PEM
}

// Private returns what JSON does not have of o.
func (o Options) Private() Private { return Private{Proxy: o.Proxy, HostCA: o.HostCA.Text} }

// Complete gives o, which was read from JSON, the rest.
func (o *Options) Complete(p Private) { o.Proxy, o.HostCA.Text = p.Proxy, p.HostCA }

// DNS has docker's flags. Servers are for the host's network only: that of an
// allowlist has its gateway's and no other.
type DNS struct {
	Servers []string `json:"servers,omitempty"`
	Search  []string `json:"search,omitempty"`
	Options []string `json:"options,omitempty"`
}

// Proxy says which proxies of the host's to use: the values of HTTP_PROXY,
// HTTPS_PROXY and NO_PROXY.
type Proxy struct {
	HTTP  string `json:"http,omitempty"`
	HTTPS string `json:"https,omitempty"`
	No    string `json:"no,omitempty"`
}

// ProxyOfEnvironment returns what this process's environment says.
func ProxyOfEnvironment() (Proxy, error) {
	c := httpproxy.FromEnvironment()
	p := Proxy{HTTP: c.HTTPProxy, HTTPS: c.HTTPSProxy, No: c.NoProxy}
	for name, text := range map[string]string{"HTTP_PROXY": p.HTTP, "HTTPS_PROXY": p.HTTPS} {
		if text == "" {
			continue
		}
		scheme, _, ok := strings.Cut(text, "://")
		if ok && scheme != "http" {
			return Proxy{}, fmt.Errorf("%s: %s:// proxies cannot be used, only http:// ones", name, scheme)
		}
		if !ok {
			text = "http://" + text
		}
		if u, err := url.Parse(text); err != nil || u.Hostname() == "" {
			return Proxy{}, fmt.Errorf("%s: not the URL of a proxy", name) // it may hold a password
		}
	}
	return p, nil
}

// choose returns the proxy for a host and port, or nil. HTTP_PROXY is for port
// 80, HTTPS_PROXY for all others: to a proxy, both are tunnels.
func (p Proxy) choose() func(policy.Host, uint16) (*url.URL, error) {
	if p.HTTP == "" && p.HTTPS == "" {
		return nil
	}
	f := (&httpproxy.Config{HTTPProxy: p.HTTP, HTTPSProxy: p.HTTPS, NoProxy: p.No}).ProxyFunc()
	return func(h policy.Host, port uint16) (*url.URL, error) {
		host := h.String()
		if h.IsAddr() && h.Addr.Is6() {
			host = "[" + host + "]"
		}
		u := &url.URL{Scheme: "https", Host: fmt.Sprintf("%s:%d", host, port)}
		if port == 80 {
			u.Scheme = "http"
		}
		return f(u)
	}
}

// Share is how much processor time the network and the output of a sandbox may cost
// the process that serves it, in parts of what the sandbox has itself. With what the sandbox
// uses, that stays below twice its limit.
const Share = 0.75

// Record is where a network's decisions go. Sums may be nil (netns.Options).
type Record struct {
	Event func(event.Event)
	Sums  func([]event.Event)
}

// Rate is how much processor time that is, in processors, for a sandbox that has so
// many; 0 is without a limit, which has all that this process may run on.
func Rate(processors float64) float64 {
	if processors == 0 {
		processors = float64(runtime.NumCPU())
	}
	return Share * processors
}

// Open makes the gateway of a sandbox. Nothing is connected to it yet. Its work is
// within the budget, which may be nil.
func (o Options) Open(id string, to Record, budget *cpubudget.Budget) (*netns.Net, error) {
	p, err := o.Policy.Policy()
	if err != nil {
		return nil, fmt.Errorf("egress: %w", err)
	}
	return netns.Open(netns.Options{
		Sandbox: id, Policy: p, Events: to.Event, Sums: to.Sums, Learn: o.Learn,
		Budget: budget, Search: o.DNS.Search, Host: gateway.Options{Proxy: o.Proxy.choose()},
	})
}

// Connect connects the sandbox, whose init is pid and which does not run yet.
func Connect(n *netns.Net, pid int) error {
	s, err := netns.OfProcess(pid)
	if err != nil {
		return err
	}
	defer s.Close()
	return n.Connect(s)
}
