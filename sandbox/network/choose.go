// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package network

import "github.com/claude-pocket-console/cpc/internal/config"

// What an option of the command line says, and else the user's file, and else the
// administrator's. A nil option was not given.

// ChooseCA returns the CA bundle to pass on; the zero value is none.
func ChooseCA(given *config.CA, c config.Config) (CA, error) {
	ca := first(given, c.User.Network.HostCA, c.System.Network.HostCA)
	switch {
	case ca == nil || !ca.On:
		return CA{}, nil
	case ca.Path == "":
		return FindCA()
	}
	return ReadCA(ca.Path)
}

// ChooseProxy returns the proxies to connect through; the zero value is none.
func ChooseProxy(given *bool, c config.Config) (Proxy, error) {
	if use := first(given, c.User.Network.Proxy, c.System.Network.Proxy); use == nil || !*use {
		return Proxy{}, nil
	}
	return ProxyOfEnvironment()
}

// ChooseSearch returns the domains that complete short names.
func ChooseSearch(given []string, c config.Config) []string {
	for _, domains := range [][]string{given, c.User.Network.DNSSearch} {
		if domains != nil {
			return domains
		}
	}
	return c.System.Network.DNSSearch
}

func first[T any](said ...*T) *T {
	for _, s := range said {
		if s != nil {
			return s
		}
	}
	return nil
}
