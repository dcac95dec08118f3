// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

// These are fields of docker for what cpc has not: no ports, volumes, restarts or
// health checks. Templates written for docker name them, and get the empty value
// that docker has where there is nothing. JSON leaves them out, but for those
// that scripts look into.

// noPsFields are those of a line of cpc ps.
type noPsFields struct {
	Mounts, Ports, Size, HealthStatus, Platform string
	LocalVolumes                                string
	IPAddresses                                 []string `json:",omitzero"`
}

// noImageRowFields are those of a line of cpc images.
type noImageRowFields struct {
	Containers, SharedSize, UniqueSize, VirtualSize string `json:",omitzero"`
}

// noSearchFields are those of a line of cpc search.
type noSearchFields struct {
	Description, StarCount, IsOfficial, IsAutomated string `json:",omitzero"`
}

// noInfoFields are those of cpc info.
type noInfoFields struct {
	ID, LoggingDriver, IndexServerAddress, OSVersion, InitBinary, ProductLicense string `json:",omitzero"`
	HttpProxy, HttpsProxy, NoProxy, SystemTime                                   string `json:",omitzero"` //nolint:revive // docker's names

	DriverStatus                             [][2]string                  `json:",omitzero"`
	Labels, ServerErrors, CDISpecDirs        []string                     `json:",omitzero"`
	Plugins                                  map[string][]string          `json:",omitzero"`
	Runtimes                                 map[string]map[string]string `json:",omitzero"`
	RegistryConfig, Swarm, ClientInfo        map[string]string            `json:",omitzero"`
	RuncCommit, ContainerdCommit, InitCommit struct{ ID string }          `json:",omitzero"`
	GenericResources, DefaultAddressPools    []string                     `json:",omitzero"`

	NFd, NGoroutines, NEventsListener                                            int  `json:",omitzero"`
	Debug, ExperimentalBuild, LiveRestoreEnabled, OomKillDisable, IPv4Forwarding bool `json:",omitzero"`
	CPUShares, KernelMemory, BridgeNfIptables, BridgeNfIp6tables                 bool `json:",omitzero"` //nolint:revive // docker's names
}
